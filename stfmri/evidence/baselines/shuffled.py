"""A control: the best of other baselines, on training labels that mean nothing."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stfmri.evidence.baselines.record import INNER_LOSS, Baseline, Fitted, Task


def predict(task: Task, candidates: Sequence[Baseline]) -> Fitted:
    """Shuffle the labels of the training part, then fit as usual, choices included.

    Of `candidates`, the one of least inner log loss on the shuffled labels predicts.
    """
    generator = np.random.default_rng((task.seed, task.fold))
    order = generator.permutation(len(task.train))
    shuffled = [
        replace(subject, label=task.train[other].label)
        for subject, other in zip(task.train, order, strict=True)
    ]
    blind = replace(task, train=shuffled)
    fitted = {one.name: one.predict(blind) for one in candidates}

    def loss(name: str) -> float:
        found = fitted[name].facts[INNER_LOSS]
        return math.inf if found is None else float(str(found))

    best = min(fitted, key=loss)
    return Fitted(fitted[best].probability_NK, {"baseline": best, **fitted[best].facts})


def control_of(candidates: Sequence[Baseline]) -> Baseline:
    """The control of these baselines."""
    extractors = [extractor for one in candidates for extractor in one.extractors]
    return Baseline(
        name="shuffled",
        label="Shuffled labels",
        phrase="the best image baseline, fitted to shuffled training labels",
        meaning="It must score chance: where it does not, something besides the training labels "
        "tells the test labels.",
        sees_images=True,
        predict=functools.partial(predict, candidates=candidates),
        extractors=tuple(extractors),
        is_control=True,
    )
