"""Tables of class shares, the part that all look-ups have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stfmri.evidence.baselines.record import FloatArray

if TYPE_CHECKING:
    from stfmri.study.splits import Subject


def class_shares(subjects: Sequence[Subject], classes: Sequence[str]) -> FloatArray:
    """The share of each of the K classes among `subjects`, (K,), summing to 1."""
    counts = Counter(subject.label for subject in subjects)
    return np.array([counts[name] for name in classes]) / len(subjects)
