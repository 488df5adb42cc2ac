"""The chain from a scan and its brain to a volume of the cache, composed of TorchIO transforms.

The whole head is never scaled nor resampled: the scan is first cropped to its brain, which changes
no result, because everything outside the brain becomes 0 before voxels are interpolated.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
import torch
import torchio as tio
from numpy.typing import NDArray

from preprocessing.brain import Mask, bounding_box
from preprocessing.nifti import Image, ScanError
from stfmri.study.config import PreprocessingConfig

# Source voxels kept around the brain: linear interpolation looks one voxel beyond it.
MARGIN = 2
# Voxels by which a grid may fall short of a whole number through rounding in a header's float32.
ROUNDING = 1e-3


def to_grid(
    image: Image, brain: Mask, preprocessing: PreprocessingConfig
) -> tuple[NDArray[np.float16], NDArray[np.float64]]:
    """Scale, resample and crop a scan around its brain.

    Returns:
        The volume, float16 (C, D, H, W) with C = 1, in [0, 1], 0 outside the brain; and its
        affine, (w, h, d, 1) → RAS millimetres.

    Raises:
        ScanError: where the brain is larger than the field, or has one intensity throughout.
    """
    box = bounding_box(brain, MARGIN)
    values = image.values(box)
    if np.ptp(values[brain[box]]) == 0:
        raise ScanError("the brain is constant: every voxel has the same value")
    affine = image.affine.copy()
    affine[:3, 3] = nib.affines.apply_affine(image.affine, [part.start for part in box])
    subject = tio.Subject(
        scan=tio.ScalarImage(tensor=torch.from_numpy(values[None]), affine=affine),
        brain=tio.LabelMap(
            tensor=torch.from_numpy(brain[box][None].astype(np.float32)), affine=affine
        ),
    )
    shape_WHD = preprocessing.shape[::-1]
    grid = resampled_grid(image, box, preprocessing.spacing_mm)
    subject = normalisation(preprocessing, grid)(subject)
    _check_fits(subject.brain.numpy()[0] > 0, shape_WHD, preprocessing)
    subject = centring(shape_WHD)(subject)
    volume_WHD = subject.scan.numpy()[0]
    volume_CDHW = np.ascontiguousarray(volume_WHD.transpose(2, 1, 0)[None], dtype=np.float16)
    return volume_CDHW, subject.scan.affine


def normalisation(
    preprocessing: PreprocessingConfig, grid: tuple[tuple[int, int, int], NDArray[np.float64]]
) -> tio.Compose:
    """Canonical axes, intensities of the brain to [0, 1], 0 outside it, and the new voxel size.

    A voxel counts as brain where the interpolated mask reaches a half. The mask must come as
    floating point: interpolating whole numbers, ITK cuts 0.99 to 0.
    """
    steps = [
        tio.ToCanonical(copy=False),
        # TorchIO's first argument is the range that comes out, not the percentiles.
        tio.RescaleIntensity(
            out_min_max=(0, 1),
            percentiles=preprocessing.percentiles,
            masking_method="brain",
            copy=False,
        ),
        tio.Mask("brain", copy=False),
        tio.Resample(grid, label_interpolation="linear", copy=False),
        tio.Lambda(_at_least_half, types_to_apply=[tio.LABEL], copy=False),
    ]
    return tio.Compose(steps, copy=False)


def _at_least_half(mask_CWHD: torch.Tensor) -> torch.Tensor:
    # Rounding in the interpolation must not decide the many voxels of exactly a half.
    return (mask_CWHD > 0.499).float()


def centring(shape_WHD: tuple[int, int, int]) -> tio.Compose:
    """The field, centred on the brain's bounding box, and 0 outside the brain again."""
    steps = [tio.CropOrPad(shape_WHD, mask_name="brain", copy=False), tio.Mask("brain", copy=False)]
    return tio.Compose(steps, copy=False)


def resampled_grid(
    image: Image, box: tuple[slice, ...], spacing_mm: float
) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """The part that covers `box` of the grid to which TorchIO resamples the *whole* scan.

    That grid shares its centre with the scan and holds as many voxels as fit. Resampling the box by
    itself would shift it by a fraction of a voxel that differs between subjects, and with it how
    much linear interpolation blurs them.

    Returns:
        Shape (W, H, D) and affine, on canonical axes.
    """
    orientation = nib.io_orientation(image.affine)
    order = np.argsort(orientation[:, 0])
    shape = np.array(image.data.shape)[order]
    back = nib.orientations.inv_ornt_aff(orientation, image.data.shape)
    affine = image.affine @ back
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    target = np.eye(4)
    target[:3, :3] = affine[:3, :3] / spacing * spacing_mm
    size = np.maximum(1, np.floor(shape * spacing / spacing_mm + ROUNDING))
    centre = nib.affines.apply_affine(affine, (shape - 1) / 2)
    target[:3, 3] = centre - target[:3, :3] @ ((size - 1) / 2)
    ends = np.array([[part.start, part.stop - 1] for part in box]).T
    corners = nib.affines.apply_affine(np.linalg.inv(target) @ image.affine, ends)
    start = np.clip(np.floor(corners.min(axis=0)), 0, size - 1)
    stop = np.clip(np.ceil(corners.max(axis=0)) + 1, start + 1, size)
    target[:3, 3] = nib.affines.apply_affine(target, start)
    width, height, depth = (int(count) for count in stop - start)
    return (width, height, depth), target


def _check_fits(
    brain_WHD: Mask, shape_WHD: tuple[int, int, int], preprocessing: PreprocessingConfig
) -> None:
    if not brain_WHD.any():
        raise ScanError(f"the brain is smaller than a voxel of {preprocessing.spacing_mm:g} mm")
    extent = [part.stop - part.start for part in bounding_box(brain_WHD)]
    if any(found > room for found, room in zip(extent, shape_WHD, strict=True)):
        spans = "×".join(f"{count * preprocessing.spacing_mm:g}" for count in extent)
        room = "×".join(f"{mm:g}" for mm in preprocessing.field_mm)
        raise ScanError(
            f"the brain spans {spans} mm (right, anterior, superior), more than the field of "
            f"{room} mm; look at its mask, or enlarge preprocessing.field_mm"
        )
