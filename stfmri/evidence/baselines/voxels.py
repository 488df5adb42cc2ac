"""The volume itself, coarse: principal components of block means and logistic regression."""

from __future__ import annotations

from stfmri.evidence.baselines.blocks import block_means
from stfmri.evidence.baselines.record import Baseline, Extractor, Fitted, Task

VOXELS = Extractor("voxels", 1, block_means)


def predict(task: Task) -> Fitted:
    """Logistic regression on the principal components of means over blocks of about 8 mm."""
    from stfmri.evidence.baselines.components import COUNTS, Components, turned
    from stfmri.evidence.baselines.fitting import fit_predict

    train, test = turned(*task.rows(VOXELS.name))
    return fit_predict(task, train, test, Components(), {"count": COUNTS})


BASELINE = Baseline(
    name="voxels",
    label="Coarse voxels",
    phrase="a linear model of the volume at 8 mm",
    meaning="A linear model of a blurred volume is enough for such a score; depth, resolution and "
    "convolutions added nothing.",
    sees_images=True,
    predict=predict,
    extractors=(VOXELS,),
)
