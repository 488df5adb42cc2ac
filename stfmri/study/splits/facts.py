"""What a split tested: how many patients, how often, and whom never."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stfmri.study.splits.record import Fold, Subject


@dataclass(frozen=True)
class Tested:
    """Of some patients, how many are tested and how often.

    Attributes:
        patients: all that there are.
        tested: those of whom a scan is tested in any fold.
        least, most: folds that test a patient, over those who are tested; 0 where nobody is.
        mean: over all patients, those never tested included.
    """

    patients: int
    tested: int
    least: int
    most: int
    mean: float

    @property
    def never(self) -> int:
        """Patients of whom no scan is tested in any fold."""
        return self.patients - self.tested


@dataclass(frozen=True)
class Facts:
    """How often patients are tested: all of them, and by class.

    A patient with scans of several classes counts in each of them.
    """

    overall: Tested
    by_class: Mapping[str, Tested]


def facts(folds: Sequence[Fold], subjects: Mapping[str, Subject], classes: Sequence[str]) -> Facts:
    """Count the folds in which each patient is tested.

    Args:
        subjects: every subject of the cohort, by id, also those in no fold.
    """
    return Facts(
        _tested(folds, subjects),
        {
            name: _tested(folds, {k: s for k, s in subjects.items() if s.label == name})
            for name in classes
        },
    )


def _tested(folds: Sequence[Fold], subjects: Mapping[str, Subject]) -> Tested:
    patients = {subject.patient_id for subject in subjects.values()}
    times = Counter(
        patient
        for fold in folds
        for patient in {subjects[name].patient_id for name in fold.test if name in subjects}
    )
    return Tested(
        patients=len(patients),
        tested=len(times),
        least=min(times.values(), default=0),
        most=max(times.values(), default=0),
        mean=sum(times.values()) / max(len(patients), 1),
    )
