"""How bright the brain's voxels are, wherever they lie: a histogram and logistic regression."""

from __future__ import annotations

import numpy as np

from stfmri.evidence.baselines.record import Baseline, Extractor, Fitted, Float32Array, Task

BINS = 64


def histogram(volume_CDHW: Float32Array, spacing_mm: float) -> Float32Array:  # noqa: ARG001
    """The share of the voxels above 0 in each of `BINS` equal bins of (0, 1], channel by channel.

    Returns:
        float32 (C · BINS,); zeros for a channel without such voxels.
    """
    rows = []
    for channel in volume_CDHW:
        values = channel[channel > 0]
        counts, _ = np.histogram(values, bins=BINS, range=(0, 1))
        rows.append(counts / max(1, values.size))
    return np.concatenate(rows).astype(np.float32)


HISTOGRAM = Extractor("histogram", 1, histogram)


def predict(task: Task) -> Fitted:
    """Logistic regression on the bins, each scaled to unit variance."""
    from sklearn.preprocessing import StandardScaler

    from stfmri.evidence.baselines.fitting import fit_predict

    train, test = task.rows(HISTOGRAM.name)
    return fit_predict(task, train, test, StandardScaler())


BASELINE = Baseline(
    name="intensity",
    label="Intensity histogram",
    phrase="the histogram of the brain's intensities, which sees no anatomy",
    meaning="How bright the voxels are, wherever they lie, is enough for such a score.",
    sees_images=True,
    predict=predict,
    extractors=(HISTOGRAM,),
)
