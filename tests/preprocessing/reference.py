"""Preprocessing by other means: nibabel, NumPy and SciPy alone, for comparison."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def reference_volume(
    scan: Path,
    mask: NDArray[np.bool_],
    affine_out: NDArray[np.float64],
    shape_DHW: tuple[int, ...],
    antialias: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A scan on a given grid, and where that grid is at least two voxels from the mask's edge.

    Args:
        mask: the brain, on the scan's own grid.
        affine_out: (w, h, d, 1) → RAS millimetres.
        antialias: whether a Gaussian comes before a coarser grid, within the brain.
    """
    image = nib.load(scan)
    values = np.asarray(image.dataobj, np.float64)
    marked = nib.Nifti1Image(mask.astype(np.uint8), image.affine)
    image = nib.as_closest_canonical(nib.Nifti1Image(values, image.affine))
    mask = np.asarray(nib.as_closest_canonical(marked).dataobj) > 0
    values = image.get_fdata()
    low, high = np.percentile(values[mask], [0.5, 99.5])
    scaled = np.where(mask, np.clip((values - low) / (high - low), 0, 1), 0)
    indices_WHD = np.indices(shape_DHW[::-1]).reshape(3, -1)
    to_source = np.linalg.inv(image.affine) @ affine_out
    coordinates = to_source[:3, :3] @ indices_WHD + to_source[:3, 3:]
    weight = mask.astype(np.float64)
    if antialias:
        # A point spread of one voxel becomes one of the coarser grid's spacing, both full widths at
        # half maximum of Gaussians.
        source, target = (np.linalg.norm(a[:3, :3], axis=0) for a in (image.affine, affine_out))
        sigma_mm = np.sqrt(np.maximum(target**2 - source**2, 0)) / 2.35482
        scaled, weight = (
            ndimage.gaussian_filter(each, sigma_mm / source, mode="constant")
            for each in (scaled, weight)
        )
    summed, weighed = (
        ndimage.map_coordinates(each, coordinates, order=1, mode="constant")
        for each in (scaled, weight)
    )
    resampled = summed / np.maximum(weighed, 1e-3)
    inside = ndimage.map_coordinates(mask.astype(np.float64), coordinates, order=1)
    volume = resampled.reshape(shape_DHW[::-1]).transpose(2, 1, 0)
    full = (inside.reshape(shape_DHW[::-1]) > 0.999).transpose(2, 1, 0)
    return volume, ndimage.binary_erosion(full)
