"""Cohorts made to be hard to divide: whatever comes out of them trains and tests every class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stfmri.study import splits
from stfmri.study.config.split import SplitConfig
from stfmri.study.errors import UserError
from stfmri.study.splits import Fold, Subject
from tests.tiny import tiny_config

KINDS = (
    SplitConfig(n=3),
    SplitConfig(n=2, test_fraction=0.15),
    SplitConfig(n=2, test_fraction=0.5, val_fraction=0.3),
    SplitConfig(kind="kfold", n=3),
    SplitConfig(kind="kfold", n=5, val_fraction=0.2),
)


def hostile(generator: np.random.Generator) -> list[Subject]:
    """Tiny classes, big patients, patients with scans of several classes, shared volumes."""
    classes = generator.integers(2, 6)
    weights = generator.dirichlet(np.full(classes, 0.5))
    subjects: list[Subject] = []
    for patient in range(generator.integers(4, 40)):
        main = generator.choice(classes, p=weights)
        scans = 1 + generator.geometric(0.5) if generator.random() < 0.4 else 1
        scans = int(generator.integers(8, 25)) if generator.random() < 0.05 else scans
        for scan in range(scans):
            label = generator.choice(classes) if generator.random() < 0.25 else main
            name = f"p{patient:02d}-{scan:02d}"
            volume = name if generator.random() < 0.95 else "shared"
            subjects.append(Subject(name, f"p{patient:02d}", "site", f"c{label}", volume))
    return subjects


def assert_whole(folds: tuple[Fold, ...], subjects: list[Subject], split: SplitConfig) -> None:
    by_id = {subject.subject_id: subject for subject in subjects}
    classes = {subject.label for subject in subjects}
    assert len(folds) == split.folds
    for number, fold in enumerate(folds):
        splits.guard(fold, by_id, f"fold {number}")
        assert sorted(fold.train + fold.val + fold.test) == sorted(by_id)
        for part in (fold.train, fold.test):
            assert {by_id[name].label for name in part} == classes


@pytest.mark.parametrize("split", KINDS, ids=lambda split: f"{split.kind}-{split.n}")
def test_no_hostile_cohort_loses_a_class_without_a_word(split: SplitConfig) -> None:
    generator = np.random.default_rng(20261124)
    outcomes: Counter[str] = Counter()
    for _ in range(120):
        subjects = hostile(generator)
        if len({subject.label for subject in subjects}) < 2:
            continue
        try:
            folds = splits.draw(subjects, tiny_config(Path(), split=split))
        except UserError:
            outcomes["refused"] += 1
        else:
            assert_whole(folds, subjects, split)
            outcomes["drawn"] += 1
    assert min(outcomes["refused"], outcomes["drawn"]) >= 5, outcomes


def test_a_class_that_is_no_patients_most_frequent_one_is_spread_all_the_same() -> None:
    """Six patients have one scan of the rare class among others: stratifying cannot see it."""
    subjects = [
        Subject(f"p{patient:02d}-{scan}", f"p{patient:02d}", "site", label, f"{patient}-{scan}")
        for patient in range(40)
        for scan, label in enumerate(("a", "a", "rare" if patient < 6 else "b", "b", "b"))
    ]
    for seed in range(20):
        for split in (SplitConfig(n=4, seed=seed), SplitConfig(kind="kfold", n=5, seed=seed)):
            folds = splits.draw(subjects, tiny_config(Path(), split=split))
            assert_whole(folds, subjects, split)


def test_a_draw_that_is_redrawn_is_the_same_every_time() -> None:
    generator = np.random.default_rng(3)
    config = tiny_config(Path(), split=SplitConfig(n=3))
    for _ in range(20):
        subjects = hostile(generator)
        try:
            folds = splits.draw(subjects, config)
        except UserError:
            continue
        assert splits.draw(list(reversed(subjects)), config) == folds
