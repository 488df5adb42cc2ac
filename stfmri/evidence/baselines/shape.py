"""Size, place and outline of the brain, without its intensities."""

from __future__ import annotations

import numpy as np

from stfmri.evidence.baselines.blocks import block_means
from stfmri.evidence.baselines.record import Baseline, Extractor, Fitted, Float32Array, Task

EXTENT_NUMBERS = 7


def extent(volume_CDHW: Float32Array, spacing_mm: float) -> Float32Array:
    """Volume in ml, then extent and centroid in mm along superior, anterior and right.

    The mask is where any channel is above 0; an empty one gives zeros.

    Returns:
        float32 (EXTENT_NUMBERS,).
    """
    mask_DHW = np.asarray((volume_CDHW > 0).any(axis=0))
    voxels = int(mask_DHW.sum())
    row = np.zeros(EXTENT_NUMBERS, np.float32)
    if voxels:
        row[0] = voxels * spacing_mm**3 / 1000
        for axis in range(3):
            others = tuple(other for other in range(3) if other != axis)
            counts = mask_DHW.sum(axis=others)
            (filled,) = np.nonzero(counts)
            row[1 + axis] = (filled[-1] - filled[0] + 1) * spacing_mm
            row[4 + axis] = (counts @ np.arange(len(counts)) / voxels + 0.5) * spacing_mm
    return row


def coarse_mask(volume_CDHW: Float32Array, spacing_mm: float) -> Float32Array:
    """The share of each block of about 8 mm that the mask fills."""
    mask_CDHW = np.asarray((volume_CDHW > 0).any(axis=0, keepdims=True))
    return block_means(mask_CDHW, spacing_mm)


EXTENT = Extractor("extent", 1, extent)
MASK = Extractor("mask", 1, coarse_mask)


def predict(task: Task) -> Fitted:
    """Logistic regression on volume, extents, centroid and the mask's principal components."""
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import StandardScaler

    from stfmri.evidence.baselines.components import COUNTS, Components, turned
    from stfmri.evidence.baselines.fitting import fit_predict

    extents = task.rows(EXTENT.name)
    masks = turned(*task.rows(MASK.name))
    train, test = (np.hstack(pair) for pair in zip(extents, masks, strict=True))
    parts = [
        ("extent", StandardScaler(), slice(0, EXTENT_NUMBERS)),
        ("mask", Components(), slice(EXTENT_NUMBERS, None)),
    ]
    return fit_predict(task, train, test, ColumnTransformer(parts), {"mask__count": COUNTS})


BASELINE = Baseline(
    name="shape",
    label="Brain shape",
    phrase="size, place and outline of the brain mask, which sees no intensity",
    meaning="The outline of the brain, or of what brain extraction left of it, is enough for such "
    "a score.",
    sees_images=True,
    predict=predict,
    extractors=(EXTENT, MASK),
)
