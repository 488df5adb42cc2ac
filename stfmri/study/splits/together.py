"""One division for several caches of one cohort, as where contrasts are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stfmri.study.errors import UserError
from stfmri.study.shards import IndexRow
from stfmri.study.splits.file import SplitFile
from stfmri.study.splits.groups import group_subjects
from stfmri.study.splits.record import Subject
from stfmri.study.words import listed


def require_same_subjects(caches: Mapping[Path, Sequence[IndexRow]]) -> None:
    """Refuse caches that hold different subjects: their variants could not be compared.

    Raises:
        UserError: naming the subjects and the ways out.
    """
    subjects = {cache: {row.subject_id for row in rows} for cache, rows in caches.items()}
    for cache, here in subjects.items():
        for other, there in subjects.items():
            if lacking := sorted(here - there):
                raise UserError(
                    f"the variants of this sweep would see different subjects: {other} lacks "
                    f"{listed(lacking)}, which {cache} has (see {other / 'rejected.csv'}). Leave "
                    "them out everywhere with data.exclude=FILE, or keep subjects that lack some "
                    "of their contrasts with data.missing=zeros"
                )


def require_same_folds(first: SplitFile, second: SplitFile) -> None:
    """Refuse two caches whose subjects were divided otherwise.

    Raises:
        UserError: naming both files and what to do.
    """
    if first.folds != second.folds:
        raise UserError(
            f"{first.path} and {second.path} divide the subjects otherwise, so that the variants "
            "of this sweep could not be compared: choose another split.seed, or delete the file "
            "that no other sweep uses"
        )


def is_of(file: SplitFile, subjects: Sequence[Subject]) -> bool:
    """Whether the file's folds name nobody else."""
    known = {subject.subject_id for subject in subjects}
    parts = [part for fold in file.folds for part in (fold.train, fold.val, fold.test)]
    return all(known.issuperset(part) for part in parts)


def linked(subjects: Sequence[Subject], others: Sequence[Subject]) -> list[Subject]:
    """The subjects, as of one patient where they belong together in any of several caches.

    Two may have equal voxels in one contrast alone. Folds that are drawn of the result are the same
    for each cache.

    Args:
        others: the same subjects, as the other caches have them.
    """
    patient = {
        subject.subject_id: group[0].patient_id
        for group in group_subjects([*subjects, *others])
        for subject in group
    }
    return [replace(subject, patient_id=patient[subject.subject_id]) for subject in subjects]
