"""Volumes made coarse: means over blocks of about 8 mm."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stfmri.evidence.baselines.record import Float32Array

BLOCK_MM = 8.0


def block_means(volume_CDHW: npt.NDArray[np.generic], spacing_mm: float) -> Float32Array:
    """Means over cubes of about `BLOCK_MM`, a voxel at least, as one row.

    Where the cubes do not fill the field, zeros stand in for what lies beyond it.

    Args:
        volume_CDHW: numbers or truth values, (C, D, H, W).
        spacing_mm: edge of its voxels.

    Returns:
        float32 (C · D' · H' · W',), channel by channel.
    """
    edge = max(1, round(BLOCK_MM / spacing_mm))
    missing = [-side % edge for side in volume_CDHW.shape[1:]]
    if any(missing):
        volume_CDHW = np.pad(volume_CDHW, [(0, 0), *((0, count) for count in missing)])
    # From the last axis on, which lies contiguously: each sum then has fewer numbers to add.
    sums = volume_CDHW.astype(np.float32, copy=False)
    for axis in (3, 2, 1):
        shape = sums.shape
        split = (*shape[:axis], shape[axis] // edge, edge, *shape[axis + 1 :])
        sums = sums.reshape(split).sum(axis=axis + 1)
    means = sums.reshape(-1) / edge**3
    return means.astype(np.float32, copy=False)
