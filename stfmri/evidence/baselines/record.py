"""What a baseline is: a record that runs, tables, figures and sentences iterate over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stfmri.study.config import Config
from stfmri.study.splits import Subject

FloatArray = npt.NDArray[np.float64]


class Features(Protocol):
    """Numbers computed from the volumes of a cache, one row a subject."""

    def rows(self, kind: str, subjects: Sequence[Subject]) -> FloatArray:
        """The features `kind` of `subjects` in their order, float64 (N, F)."""
        ...


@dataclass(frozen=True)
class Task:
    """One fold, as a baseline sees it.

    Attributes:
        train, test: its subjects, with their labels and every column of the cohort table.
        classes: the K class names in the order of the tables.
        covariates: columns of `data.covariates`.
        features: numbers from the volumes; None where there are none, for look-ups.
        seed: what a baseline draws at random depends on it and on `fold` alone.
    """

    train: Sequence[Subject]
    test: Sequence[Subject]
    classes: tuple[str, ...]
    fold: int
    covariates: tuple[str, ...] = ()
    features: Features | None = None
    seed: int = 0


@dataclass(frozen=True)
class Fitted:
    """What a baseline says of a fold.

    Attributes:
        probability_NK: of the test subjects, rows sum to 1.
        facts: what is worth keeping in its run's provenance: the hyper-parameters chosen, their
            inner cross-validation score, numbers of features …
    """

    probability_NK: FloatArray
    facts: Mapping[str, object]


@dataclass(frozen=True)
class Baseline:
    """One baseline.

    Attributes:
        name: its key in summary.json; its runs lie in runs/<sweep>/baseline-<name>/.
        label: as tables and figures print it, such as `Source only`.
        phrase: in a sentence, such as "the look-up from source alone, which sees no image".
        meaning: what it means if a network is not above it, as a whole sentence.
        sees_images: whether it reads volumes, and so is run like a network; a look-up is computed
            from the cohort table whenever results are written.
        predict: fits on `train` and predicts `test`.
        unfit: why it cannot be used on a cohort, in words, or "" where it can.
        is_control: whether it must score chance (labels shuffled), so that no network is compared
            with it.
    """

    name: str
    label: str
    phrase: str
    meaning: str
    sees_images: bool
    predict: Callable[[Task], Fitted]
    unfit: Callable[[Config, Sequence[Subject]], str] = lambda config, subjects: ""  # noqa: ARG005
    is_control: bool = False
