"""What a baseline is: a record that runs, tables, figures and sentences iterate over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    # The registry is read by commands that should start at once, and these bring h5py.
    from stfmri.study.config import Config
    from stfmri.study.splits import Subject

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

# Key of `Fitted.facts`: the inner cross-validation score of the chosen hyper-parameters, a log loss
# in which all classes weigh the same; None where there was nothing to choose by.
INNER_LOSS = "inner_log_loss"


@dataclass(frozen=True)
class Extractor:
    """How one kind of feature is computed from a volume.

    Attributes:
        name: of the kind, as `Features.rows` takes it.
        version: goes up whenever the same volume would give other numbers, so that what an older
            program stored is computed again.
        extract: the volume, float32 (C, D, H, W) in [0, 1] and 0 outside the brain, and the edge of
            its voxels in mm, to F numbers.
    """

    name: str
    version: int
    extract: Callable[[Float32Array, float], npt.NDArray[np.floating]]


class Features(Protocol):
    """Numbers computed from the volumes of a cache, one row a subject."""

    def rows(self, kind: str, subjects: Sequence[Subject]) -> FloatArray:
        """The features `kind` of `subjects` in their order, float64 (N, F)."""
        ...


@dataclass(frozen=True)
class Task:
    """One fold, as a baseline sees it.

    Attributes:
        train, test: its subjects, with their labels and every column of the cohort table; those of
            `train` are put in the order of their ids, so that no other order matters.
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

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.train, key=lambda subject: subject.subject_id))
        object.__setattr__(self, "train", ordered)

    def rows(self, kind: str) -> tuple[FloatArray, FloatArray]:
        """The features `kind` of the training and of the test subjects, (N, F) and (M, F).

        Raises:
            ValueError: where the task has no features.
        """
        if self.features is None:
            raise ValueError(f"expected features of the volumes, such as {kind}; found none")
        return self.features.rows(kind, self.train), self.features.rows(kind, self.test)


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


def part_words(train_fraction: float) -> str:
    """`25 % of training`; nothing for all of it."""
    return "" if train_fraction == 1 else f"{100 * train_fraction:.3g} % of training"


@dataclass(frozen=True)
class Baseline:
    """One baseline.

    Attributes:
        name: its key in summary.json; its runs lie in runs/<sweep>/baseline-<name>/.
        label: as tables and figures print it, such as `Source only`.
        phrase: in a sentence, such as "the look-up from source alone, which sees no image".
        meaning: what it means if a network is not above it, as a whole sentence.
        sees_images: whether it reads volumes.
        predict: fits on `train` and predicts `test`.
        is_lookup: whether it is computed from the cohort table whenever results are written; all
            others are run like a network, a run a fold.
        extractors: the features that it reads.
        unfit: why it cannot be used on a cohort, in words, or "" where it can. Of a cohort that
            has not been preprocessed yet nobody is known.
        remark: what a reader should know of the facts of all folds, as a sentence, or "".
        is_control: whether it must score chance (labels shuffled), so that no network is compared
            with it.
        volumes: of which volumes it is, where a sweep preprocessed the scans in several ways, such
            as `t1ce+flair`; set when results are read.
        train_fraction: of which part of the training subjects it is, where a sweep has several.
    """

    name: str
    label: str
    phrase: str
    meaning: str
    sees_images: bool
    predict: Callable[[Task], Fitted]
    is_lookup: bool = False
    extractors: tuple[Extractor, ...] = ()
    unfit: Callable[[Config, Sequence[Subject]], str] = lambda config, subjects: ""  # noqa: ARG005
    remark: Callable[[Sequence[Mapping[str, object]]], str] = lambda facts: ""  # noqa: ARG005
    is_control: bool = False
    volumes: str = ""
    train_fraction: float = 1.0

    @property
    def curve_label(self) -> str:
        """The label, with the volumes that it is of."""
        return f"{self.label} ({self.volumes})" if self.volumes else self.label

    @property
    def full_label(self) -> str:
        """The same, with the part of the training subjects."""
        return ", ".join(filter(None, [self.curve_label, part_words(self.train_fraction)]))

    @property
    def full_phrase(self) -> str:
        """The phrase, with the volumes that it is of."""
        return f"{self.phrase} (of {self.volumes})" if self.volumes else self.phrase
