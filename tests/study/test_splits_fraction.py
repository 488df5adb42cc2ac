"""A part of the training subjects: stratified, grouped, nested, and the same every time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from stfmri.study.errors import UserError
from stfmri.study.splits import Fold, SplitFile, Subject, reduced


def cohort(patients: dict[str, int], scans: int = 1) -> dict[str, Subject]:
    """Each class with so many patients of so many scans."""
    return {
        name: Subject(name, f"{label}{number}", "x", label, name)
        for label, count in patients.items()
        for number in range(count)
        for name in (f"{label}{number}-{scan}" for scan in range(scans))
    }


def split_of(subjects: dict[str, Subject], seed: int = 0) -> SplitFile:
    held = {name for name in subjects if name.startswith(("a0-", "b0-"))}
    train = tuple(sorted(subjects.keys() - held))
    fold = Fold(train, (), tuple(sorted(held)))
    return SplitFile(
        Path("split.json"), "kfold", "label", ("a", "b"), (fold, fold), "", {"seed": seed}
    )


def taken(
    split: SplitFile, subjects: dict[str, Subject], fraction: float, fold: int = 0
) -> set[str]:
    return set(reduced(split, fold, subjects, fraction).train)


def test_each_class_gives_its_fraction_of_patients_with_all_their_scans() -> None:
    subjects = cohort({"a": 41, "b": 9}, scans=2)
    part = taken(split_of(subjects), subjects, 0.25)
    assert Counter(subjects[name].label for name in part) == {"a": 20, "b": 4}
    assert set(Counter(subjects[name].patient_id for name in part).values()) == {2}


def test_smaller_parts_lie_within_larger_ones() -> None:
    subjects = cohort({"a": 31, "b": 13})
    split = split_of(subjects)
    quarter, half, most, whole = (taken(split, subjects, f) for f in (0.25, 0.5, 0.8, 1.0))
    assert quarter < half < most < whole
    assert whole == set(split.folds[0].train)


def test_a_part_depends_on_seed_and_fold_and_on_nothing_else() -> None:
    subjects = cohort({"a": 31, "b": 13})
    part = taken(split_of(subjects), subjects, 0.5)
    shuffled = dict(reversed(subjects.items()))
    assert taken(split_of(shuffled), shuffled, 0.5) == part
    assert taken(split_of(subjects, seed=1), subjects, 0.5) != part
    assert taken(split_of(subjects), subjects, 0.5, fold=1) != part


def test_validation_and_test_parts_stay() -> None:
    subjects = cohort({"a": 11, "b": 11})
    split = split_of(subjects)
    assert reduced(split, 0, subjects, 0.5).test == split.folds[0].test


def test_fewer_than_two_patients_of_a_class_are_refused_in_one_line() -> None:
    subjects = cohort({"a": 41, "b": 5}, scans=3)
    with pytest.raises(UserError) as caught:
        reduced(split_of(subjects), 1, subjects, 0.25)
    said = str(caught.value)
    assert "\n" not in said
    assert "leaves 1 independent patient of class 'b'" in said
    assert "fold 1 of split.json" in said
