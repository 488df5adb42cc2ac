"""Who was trained and tested on: the index of the cache, and the split drawn from it.

The split is read as it was written when the sweep was submitted; that the cache has grown since
does not matter, since runs and baselines saw only the subjects that the split names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stfmri.study import duplicates
from stfmri.study.errors import UserError
from stfmri.study.files import safe_name
from stfmri.study.splits import (
    UNHASHED,
    Fold,
    SplitFile,
    Subject,
    group_subjects,
    guard,
    notes_of,
    read_file,
    reduced,
    require_unchanged,
    rows_in,
    subjects_in,
)


@dataclass(frozen=True)
class Cohort:
    """The subjects of a sweep and the folds they were split into.

    Attributes:
        split: the file, for `splits.describe` and `splits.facts`; None where there is none.
        notes: what a reader of the results should know of the folds, a sentence each.
    """

    classes: tuple[str, ...]
    subjects: Mapping[str, Subject]
    folds: tuple[Fold, ...]
    split: SplitFile | None = None
    notes: tuple[str, ...] = ()

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

        A cluster is a connected component of subjects that share a patient or a volume, or almost
        one: the unit that the bootstrap draws, as it is the unit that the split keeps together.
        """
        joined = self.split.joined if self.split else ()
        tested = [self.subjects[name] for name in self.tested]
        clusters = {
            subject.subject_id: number
            for number, group in enumerate(group_subjects(tested, joined))
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

    def fold(self, number: int, fraction: float = 1.0) -> Fold:
        """A fold, with a fraction of its training subjects."""
        if self.split is None:
            return self.folds[number]
        return reduced(self.split, number, self.subjects, fraction)

    def mean_train_size(self, fraction: float = 1.0) -> float:
        """Mean number of training subjects of a fold, of a fraction of its training part."""
        folds = range(len(self.folds))
        return sum(len(self.fold(number, fraction).train) for number in folds) / len(folds)

    def mean_test_size(self) -> float:
        """Mean number of test subjects of a fold."""
        return sum(len(fold.test) for fold in self.folds) / len(self.folds)


def read_cohort(
    cache: Path, splits_path: Path, classes: tuple[str, ...], *, sha256: str = ""
) -> Cohort:
    """Read the labels that the baselines and the report need.

    Args:
        cache: the folder that holds `index.csv`.
        splits_path: the split; its `label` names the label column of the index, and where it tests
            another cohort its `external_cache` the folder of that one, beside `cache`.
        classes: class names in the order of the sweep.
        sha256: of the split as it was submitted; empty where the sweep is older than the hash.

    Raises:
        UserError: if a file is missing or broken, the split names a subject without a row, or is
            not the one that was submitted.
        LeakageError: if the split has somebody on both sides.
    """
    split = read_file(splits_path)
    require_unchanged(split, sha256)
    external = split.settings.get("external_cache")
    if external:
        safe_name(str(external), f"{splits_path}: external_cache")
    every_row = rows_in(cache, cache.parent / str(external) if external else None)
    named = _named(split.folds)
    rows = [row for row in every_row if row.subject_id in named]
    absent = sorted(named - {row.subject_id for row in rows})
    index_path = cache / "index.csv"
    if absent or not rows:
        raise UserError(
            f"expected a row in {index_path} for each subject of {splits_path}, found none for "
            f"{', '.join(absent[:5])}; was the cache rebuilt from other scans since the sweep was "
            "submitted?"
        )
    subjects = {subject.subject_id: subject for subject in subjects_in(rows, split.label)}
    for subject in subjects.values():
        if subject.label not in classes:
            raise UserError(
                f"expected one of {list(classes)} as {split.label} of subject "
                f"{subject.subject_id!r} in {index_path}, found {subject.label!r}"
            )
    for number, fold in enumerate(split.folds):
        guard(fold, subjects, f"{splits_path}, fold {number}")
    pairs = (*duplicates.read(cache), *split.near_duplicates)
    return Cohort(
        classes=classes,
        subjects=subjects,
        folds=split.folds,
        split=split,
        notes=notes_of(split, subjects, pairs) + (() if sha256 else (UNHASHED,)),
    )


def _named(folds: Sequence[Fold]) -> set[str]:
    """Ids of all subjects of all folds."""
    return {name for fold in folds for part in (fold.train, fold.val, fold.test) for name in part}
