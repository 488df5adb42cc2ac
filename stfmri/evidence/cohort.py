"""Who was trained and tested on: the index of the cache, and the split drawn from it.

The split is read as it was written when the sweep was submitted; that the cache has grown since
does not matter, since runs and baselines saw only the subjects that the split names.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stfmri.study.errors import UserError
from stfmri.study.shards import read_index
from stfmri.study.splits import Fold, Subject, group_subjects, guard, subjects_of


@dataclass(frozen=True)
class Cohort:
    """The subjects of a sweep and the folds they were split into."""

    classes: tuple[str, ...]
    subjects: Mapping[str, Subject]
    folds: tuple[Fold, ...]

    @cached_property
    def patient_index(self) -> Mapping[str, int]:
        """Number of each patient who is in any test set, by sorted id."""
        tested = {self.subjects[name].patient_id for fold in self.folds for name in fold.test}
        return {patient: number for number, patient in enumerate(sorted(tested))}

    @cached_property
    def tested(self) -> tuple[str, ...]:
        """Ids of the subjects that any fold tests, sorted."""
        return tuple(sorted({name for fold in self.folds for name in fold.test}))

    @cached_property
    def tested_index(self) -> Mapping[str, int]:
        """Position of each subject in `tested`."""
        return {name: number for number, name in enumerate(self.tested)}

    @cached_property
    def cluster_of_tested(self) -> npt.NDArray[np.int64]:
        """Number of the cluster of each subject in `tested`, from 0.

        A cluster is a connected component of subjects that share a patient or a volume: the unit
        that the bootstrap draws, as it is the unit that the split keeps together.
        """
        tested = [self.subjects[name] for name in self.tested]
        clusters = {
            subject.subject_id: number
            for number, group in enumerate(group_subjects(tested))
            for subject in group
        }
        return np.array([clusters[name] for name in self.tested], dtype=np.int64)

    @cached_property
    def used(self) -> tuple[Subject, ...]:
        """The subjects that any fold trains, validates or tests on, sorted by id."""
        return tuple(self.subjects[name] for name in sorted(_named(self.folds)))

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Number of used subjects by (source, class)."""
        return Counter((subject.source, subject.label) for subject in self.used)

    def mean_train_size(self) -> float:
        """Mean number of training subjects of a fold."""
        return sum(len(fold.train) for fold in self.folds) / len(self.folds)

    def mean_test_size(self) -> float:
        """Mean number of test subjects of a fold."""
        return sum(len(fold.test) for fold in self.folds) / len(self.folds)


def read_cohort(cache: Path, splits_path: Path, classes: tuple[str, ...]) -> Cohort:
    """Read the labels that the baselines and the report need.

    Args:
        cache: the folder that holds `index.csv`.
        splits_path: the split; its `label` names the label column of the index.
        classes: class names in the order of the sweep.

    Raises:
        UserError: if a file is missing or broken, or the split names a subject without a row.
        LeakageError: if the split has somebody on both sides.
    """
    split = _read_split(splits_path)
    index_path = cache / "index.csv"
    try:
        label = split["label"]
        folds = tuple(
            Fold(_ids(fold["train"]), _ids(fold.get("val", ())), _ids(fold["test"]))
            for fold in split["folds"]
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"expected a split with 'label' and 'folds' of 'train' and 'test' in {splits_path}; "
            f"cannot read it ({error!r})"
        ) from error
    named = _named(folds)
    rows = [row for row in read_index(cache) if row.subject_id in named]
    absent = sorted(named - {row.subject_id for row in rows})
    if absent or not rows:
        raise UserError(
            f"expected a row in {index_path} for each subject of {splits_path}, found none for "
            f"{', '.join(absent[:5])}; was the cache rebuilt from other scans since the sweep was "
            "submitted?"
        )
    subjects = {subject.subject_id: subject for subject in subjects_of(rows, label, index_path)}
    for subject in subjects.values():
        if subject.label not in classes:
            raise UserError(
                f"expected one of {list(classes)} as {label} of subject {subject.subject_id!r} in "
                f"{index_path}, found {subject.label!r}"
            )
    for number, fold in enumerate(folds):
        guard(fold, subjects, f"{splits_path}, fold {number}")
    return Cohort(classes, subjects, folds)


def _ids(listed: Iterable[object]) -> tuple[str, ...]:
    return tuple(map(str, listed))


def _named(folds: Sequence[Fold]) -> set[str]:
    """Ids of all subjects of all folds."""
    return {name for fold in folds for part in (fold.train, fold.val, fold.test) for name in part}


def _read_split(path: Path) -> Any:
    """The split file as it stands."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"expected the split of the sweep in {path}, found no such file") from error
    except ValueError as error:
        raise UserError(f"expected JSON in {path}, found {error}") from error
