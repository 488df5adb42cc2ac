"""The most frequent training class, whatever the scan."""

from __future__ import annotations

import numpy as np

from stfmri.evidence.baselines.lookup import class_shares
from stfmri.evidence.baselines.record import Baseline, Fitted, Task


def predict(task: Task) -> Fitted:
    """The classes' shares in the training part, the same for every test subject."""
    shares = class_shares(task.train, task.classes)
    return Fitted(np.tile(shares, (len(task.test), 1)), {})


BASELINE = Baseline(
    name="majority",
    label="Majority class",
    phrase="always predicting the most frequent training class",
    meaning="A network that is not above it has learned nothing that tells the classes apart.",
    sees_images=False,
    predict=predict,
    is_lookup=True,
)
