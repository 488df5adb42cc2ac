"""What each variant and baseline predicted, as arrays: a row a test prediction.

A sweep of thousands of runs is some megabytes of probabilities, so all are kept, and every metric,
figure and test is computed from the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stfmri.evidence.cohort import Cohort
from stfmri.evidence.metrics import FloatArray, Scores
from stfmri.study.predictions import PredictionTable


@dataclass(frozen=True)
class Predicted:
    """The test predictions of one variant or baseline.

    Attributes:
        name: `<variant>`, or the baseline's name.
        label: the same in words.
        kind: `network` or `baseline`.
        model, weights, extra: what a variant's name is made of; empty for a baseline.
        subject_N: position of each prediction's subject in `Cohort.tested`.
        fold_N: number of its fold; rows are sorted by fold, then by subject.
        label_N: number of its true class.
        probability_NK: probabilities of the classes.
        seeds: those that it was trained with, where a sweep has several; empty elsewhere.
        members: of several seeds the predictions of each, whose rows follow each other here: a
            score is then the mean of theirs.
        trainings: how many networks of a fold make one prediction: 1, or those of an ensemble.
        train_fraction: the share of each fold's training part that it was trained on.
        curve: the label without that share, where a sweep has several; empty elsewhere.
    """

    name: str
    label: str
    kind: str
    model: str
    weights: str
    extra: str
    subject_N: npt.NDArray[np.int64]
    fold_N: npt.NDArray[np.int64]
    label_N: npt.NDArray[np.int64]
    probability_NK: FloatArray
    seeds: tuple[int, ...] = ()
    members: tuple[Predicted, ...] = ()
    trainings: int = 1
    train_fraction: float = 1.0
    curve: str = ""

    @property
    def networks(self) -> tuple[Predicted, ...]:
        """The predictions of each seed; itself where there is one."""
        return self.members or (self,)

    @property
    def is_ensemble(self) -> bool:
        """Whether each prediction is the mean of several networks'."""
        return self.trainings > 1

    @cached_property
    def network_N(self) -> npt.NDArray[np.int64]:
        """A number for the network of each prediction: one a fold and seed."""
        if not self.members:
            return self.fold_N
        step = int(self.fold_N.max()) + 1
        return np.concatenate(
            [one.fold_N + number * step for number, one in enumerate(self.members)]
        )

    @cached_property
    def seed_N(self) -> npt.NDArray[np.int64]:
        """The seed of each prediction, of several members."""
        sizes = [len(one.label_N) for one in self.members]
        return np.repeat(np.array(self.seeds, dtype=np.int64), sizes)

    @cached_property
    def prediction_N(self) -> npt.NDArray[np.int64]:
        """Number of the likeliest class; of equals the first, as in predictions.csv."""
        return self.probability_NK.argmax(axis=1)

    @cached_property
    def folds(self) -> tuple[int, ...]:
        """Numbers of the folds, rising."""
        return tuple(np.unique(self.fold_N).tolist())

    @cached_property
    def scores(self) -> Scores:
        """As metrics of probabilities take them: each network's by themselves."""
        return Scores(self.label_N, self.probability_NK, self.network_N)

    @cached_property
    def fold_confusions(self) -> npt.NDArray[np.int64]:
        """Counts of each fold, added up over seeds, shape (F, K, K), rows true."""
        return self.confusions_by(np.searchsorted(self.folds, self.fold_N), len(self.folds))

    @property
    def pooled(self) -> npt.NDArray[np.int64]:
        """Counts over all folds and seeds, shape (K, K)."""
        return self.fold_confusions.sum(axis=0)

    def confusions_by(self, group_N: npt.NDArray[np.int64], groups: int) -> npt.NDArray[np.int64]:
        """The confusion matrix of each group of predictions, shape (groups, K, K), rows true."""
        classes = self.probability_NK.shape[1]
        cell_N = (group_N * classes + self.label_N) * classes + self.prediction_N
        counts = np.bincount(cell_N, minlength=groups * classes * classes)
        return counts.reshape(groups, classes, classes)


def from_tables(
    tables: Sequence[PredictionTable],
    cohort: Cohort,
    *,
    name: str,
    label: str,
    kind: str,
    model: str = "",
    weights: str = "",
    extra: str = "",
    train_fraction: float = 1.0,
    curve: str = "",
) -> Predicted:
    """The predictions of one variant or baseline, from one table a fold."""
    # The same order in every variant, so that rows of two can be set side by side.
    rows = sorted(
        (row for table in tables for row in table.rows), key=lambda row: (row.fold, row.subject_id)
    )
    number = {name: position for position, name in enumerate(cohort.classes)}
    return Predicted(
        name=name,
        label=label,
        kind=kind,
        model=model,
        weights=weights,
        extra=extra,
        subject_N=np.array([cohort.tested_index[row.subject_id] for row in rows], dtype=np.int64),
        fold_N=np.array([row.fold for row in rows], dtype=np.int64),
        label_N=np.array([number[row.label] for row in rows], dtype=np.int64),
        probability_NK=np.array([row.probabilities for row in rows], dtype=np.float64),
        train_fraction=train_fraction,
        curve=curve,
    )
