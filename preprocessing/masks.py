"""Brain masks, and mask files that must lie on a scan's own grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preprocessing.nifti import Image, ScanError, parse, read_bytes

Mask = NDArray[np.bool_]


def read_mask(path: Path, image: Image) -> Mask:
    """A mask file's voxels above 0, which must lie on the scan's own grid."""
    try:
        mask = parse(read_bytes(path))
    except ScanError as error:
        raise ScanError(f"mask {path.name}: {error}") from error
    if mask.data.shape != image.data.shape:
        raise ScanError(
            f"mask {path.name} has {mask.data.shape} voxels, the scan {image.data.shape}"
        )
    ends = np.array([[0, 0, 0, 1], [*image.data.shape, 1]])
    gap = np.abs((mask.affine - image.affine) @ ends.T).max()
    if gap > image.spacing.min() / 2:
        raise ScanError(f"mask {path.name} lies up to {gap:.1f} mm off the scan's grid")
    brain = mask.values() > 0
    if not brain.any():
        raise ScanError(f"mask {path.name} is empty")
    return brain
