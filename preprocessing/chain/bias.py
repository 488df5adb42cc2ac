"""Shading of the coils, taken out by N4 (Tustison et al. 2010) as SimpleITK has it."""

from __future__ import annotations

import numpy as np
import SimpleITK
import torch
from numpy.typing import NDArray

from preprocessing.brain import Mask
from preprocessing.nifti import ScanError

# The field is smooth: it is fitted on voxels averaged to at least this size. At 4 mm the same field
# takes ten times as long; this takes some 1.2 s a brain.
WORK_MM = 6.0
ITERATIONS = (30, 30, 20)
# Part of the brain that may be 0 or less; registration leaves a few such voxels.
MOST_NEGATIVE = 0.05


def unshaded(
    values_KJI: NDArray[np.float32], brain_KJI: Mask, spacing_IJK: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Divide by the smooth field that N4 finds in the brain; its mean in the brain stays 1.

    Args:
        spacing_IJK: of the voxels, in mm, along the scan's own axes.

    Raises:
        ScanError: where many values are not positive.
    """
    negative = float((values_KJI[brain_KJI] <= 0).mean())
    if negative > MOST_NEGATIVE:
        raise ScanError(
            f"{negative:.0%} of the brain's values are 0 or less: preprocessing.bias=n4 divides by "
            "the shading, and needs scans that were not standardised"
        )
    factors = [max(1, round(WORK_MM / mm)) for mm in spacing_IJK[::-1]]
    inside = torch.from_numpy(brain_KJI & (values_KJI > 0)).float()[None, None]
    share = _averaged(inside, factors)
    mean = _averaged(torch.from_numpy(values_KJI)[None, None] * inside, factors)
    mean = mean / share.clamp(min=1e-6)
    small = SimpleITK.GetImageFromArray(mean[0, 0].numpy())
    small.SetSpacing([mm * f for mm, f in zip(spacing_IJK, factors[::-1], strict=True)])
    mask = SimpleITK.GetImageFromArray((share[0, 0] > 0.5).numpy().astype(np.uint8))
    mask.CopyInformation(small)
    filtered = SimpleITK.N4BiasFieldCorrectionImageFilter()
    filtered.SetNumberOfThreads(1)
    filtered.SetMaximumNumberOfIterations(ITERATIONS)
    filtered.Execute(small, mask)
    log_field = SimpleITK.GetArrayFromImage(filtered.GetLogBiasFieldAsImage(small))
    log_field -= log_field[SimpleITK.GetArrayViewFromImage(mask) > 0].mean()
    whole = torch.nn.functional.interpolate(
        torch.from_numpy(log_field)[None, None],
        scale_factor=tuple(float(f) for f in factors),
        mode="trilinear",
    )[0, 0].numpy()
    depth, height, width = values_KJI.shape
    corrected: NDArray[np.float32] = values_KJI / np.exp(whole[:depth, :height, :width])
    return corrected


def _averaged(values: torch.Tensor, factors: list[int]) -> torch.Tensor:
    """Means of blocks; those at the far ends may be smaller."""
    return torch.nn.functional.avg_pool3d(values, factors, ceil_mode=True, count_include_pad=False)
