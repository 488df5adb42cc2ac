"""Scans that are almost the same stay on one side of every fold, unless the user says otherwise."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from stfmri.study import duplicates, splits
from stfmri.study.config import Config
from stfmri.study.config.split import SplitConfig
from stfmri.study.duplicates import Pair
from stfmri.study.errors import ConfigError, LeakageError
from stfmri.study.shards import read_index, write_index
from stfmri.study.splits import Fold, Subject, group_subjects
from tests.tiny import tiny_cache, tiny_config


def subject(name: str, patient: str = "", sha256: str = "") -> Subject:
    return Subject(name, patient or name, "x", "a", sha256 or name)


def chained(config: Config) -> tuple[Pair, Pair]:
    """Three subjects of the cohort joined by two pairs, written to its cache."""
    a, b, c = (row.subject_id for row in read_index(config.cache)[:3])
    pairs = (Pair(a, b, 0.99), Pair(b, c, 0.96))
    duplicates.write(config.cache, pairs)
    return pairs


def sides_of(fold: Fold, pair: Pair) -> set[str]:
    parts = {"train": fold.train, "val": fold.val, "test": fold.test}
    return {
        side
        for side, ids in parts.items()
        for name in (pair.subject_a, pair.subject_b)
        if name in ids
    }


def test_pairs_join_the_components_that_patients_and_volumes_make() -> None:
    subjects = [
        subject("a1", "a"),
        subject("a2", "a"),
        subject("b"),
        subject("c", sha256="same"),
        subject("d", sha256="same"),
        subject("e"),
    ]
    pairs = [Pair("a2", "b", 0.97), Pair("c", "b", 0.96), Pair("e", "stranger", 0.99)]
    groups = [{one.subject_id for one in group} for group in group_subjects(subjects, pairs)]
    assert groups == [{"a1", "a2", "b", "c", "d"}, {"e"}]
    assert len(group_subjects(subjects)) == 4
    for order in itertools.permutations(pairs):
        assert group_subjects(subjects, order) == group_subjects(subjects, pairs)


@pytest.mark.parametrize(
    "split",
    [
        SplitConfig(n=20, val_fraction=0.3),
        SplitConfig(kind="kfold", n=2, repeats=10),
    ],
)
def test_no_fold_divides_a_pair(tmp_path: Path, split: SplitConfig) -> None:
    config = tiny_config(tmp_path, split=split)
    tiny_cache(config)
    pairs = chained(config)
    drawn = splits.ensure(config)
    assert all(len(sides_of(fold, pair)) == 1 for fold in drawn.folds for pair in pairs)
    [note] = [note for note in drawn.notes if "kept on one side" in note]
    assert note.startswith("2 pairs of almost the same scans")
    assert f"{pairs[0].subject_a} and {pairs[0].subject_b} (0.990)" in note


def test_apart_draws_as_if_nobody_had_looked(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, split=SplitConfig(n=20))
    tiny_cache(config)
    unaware = splits.ensure(config)
    pairs = chained(config)
    apart = splits.ensure(replace(config, split=replace(config.split, near_duplicates="apart")))
    assert apart.folds == unaware.folds
    assert apart.path != unaware.path
    assert any(len(sides_of(fold, pair)) == 2 for fold in apart.folds for pair in pairs)
    assert any("perhaps the same scan on two sides" in note for note in apart.notes)


def test_the_file_records_the_pairs_and_an_old_one_that_divides_them_is_refused(
    tmp_path: Path,
) -> None:
    config = tiny_config(tmp_path, split=SplitConfig(n=20))
    tiny_cache(config)
    splits.ensure(config)
    pairs = chained(config)
    with pytest.raises(LeakageError, match=r"almost the same scans .*near_duplicates=apart"):
        splits.ensure(config)
    config.split_file.unlink()
    split = splits.ensure(config)
    assert splits.read_file(split.path).joined == pairs
    assert json.loads(split.path.read_text())["joined"][0] == [
        pairs[0].subject_a,
        pairs[0].subject_b,
        0.99,
    ]


def test_a_cohort_without_pairs_has_the_file_it_always_had(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    tiny_cache(config)
    split = splits.ensure(config)
    assert "joined" not in json.loads(split.path.read_text())
    assert not any("kept on one side" in note for note in split.notes)


def test_a_users_own_folds_that_divide_a_pair_are_refused_unless_allowed(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, split=SplitConfig(kind="column", n=0, column="fold"))
    tiny_cache(config)
    rows = read_index(config.cache)
    folds = {row.subject_id: str(number % 2) for number, row in enumerate(rows)}
    write_index(
        config.cache,
        [replace(row, columns={**row.columns, "fold": folds[row.subject_id]}) for row in rows],
    )
    chained(config)
    with pytest.raises(LeakageError, match=r"the column fold divides .*near_duplicates=apart"):
        splits.ensure(config)
    splits.ensure(replace(config, split=replace(config.split, near_duplicates="apart")))


def test_the_choice_is_one_of_two() -> None:
    with pytest.raises(ConfigError, match=r"split\.near_duplicates must be one of together, apart"):
        SplitConfig(near_duplicates="never")
