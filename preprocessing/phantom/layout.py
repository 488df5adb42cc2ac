"""The grids of the two data sets, and how their files store them."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from nibabel import Nifti1Image
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from preprocessing.phantom.fields import Axes


@dataclass(frozen=True)
class Layout:
    """Field of view of one data set: size and voxels, in RAS order, and how the file stores them.

    `template_mm` is the MNI point at the centre of the field of view, `world_mm` what the file's
    affine says of that centre.
    """

    voxels: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str
    template_mm: tuple[float, float, float]
    world_mm: tuple[float, float, float]

    def axes_mm(self) -> Axes:
        """Return voxel centres along right, anterior and superior, mm from the centre."""
        right, anterior, superior = (
            (step * (np.arange(count) - (count - 1) / 2)).astype(np.float32)
            for count, step in zip(self.voxels, self.spacing_mm, strict=True)
        )
        return right, anterior, superior


def brats_layout(spacing: float, full_size: bool) -> Layout:
    """BraTS: 240×240×155 mm, stored left-posterior-superior, with the origin of SRI24 space."""
    step = 1.0 if full_size else spacing
    voxels = ceil(240 / step), ceil(240 / step), ceil(155 / step)
    return Layout(voxels, (step, step, step), "LPS", (0, -17, 5.5), (-119.5, 119.5, 77.0))


def ixi_layout(spacing: float, full_size: bool) -> Layout:
    """IXI: 240×240×180 mm, stored posterior-superior-right (sagittal slices)."""
    steps = (1.2, 0.9375, 0.9375) if full_size else (spacing, spacing, spacing)
    voxels = ceil(180 / steps[0]), ceil(240 / steps[1]), ceil(240 / steps[2])
    return Layout(voxels, steps, "PSR", (0, -8, -22), (0.0, -2.0, -15.0))


def to_nifti(volume_RAS: np.ndarray, layout: Layout) -> Nifti1Image:
    """Store a volume as its data set does, with both affines set to scanner coordinates."""
    affine = np.diag([*layout.spacing_mm, 1.0])
    half = np.array(layout.spacing_mm) * (np.array(layout.voxels) - 1) / 2
    affine[:3, 3] = np.array(layout.world_mm) - half
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(layout.orientation))
    stored = np.ascontiguousarray(apply_orientation(volume_RAS, turn))
    affine = affine @ inv_ornt_aff(turn, volume_RAS.shape)
    image = Nifti1Image(stored, affine)
    image.set_data_dtype(stored.dtype)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    return image
