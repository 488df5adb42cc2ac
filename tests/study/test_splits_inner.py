"""The inner division of a fold: within its training part, whole patients, written once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stfmri.study import duplicates, splits
from stfmri.study.config import Config
from stfmri.study.config.split import SplitConfig
from stfmri.study.duplicates import Pair
from stfmri.study.errors import LeakageError, UserError
from stfmri.study.shards import Volumes, read_index, write_index
from tests.tiny import tiny_cache, tiny_config


def divided(config: Config, fold: int = 0, inner: float = 0.25) -> Config:
    return replace(config, split=replace(config.split, fold=fold, inner=inner))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = tiny_config(tmp_path, split=SplitConfig(kind="kfold", n=3))
    tiny_cache(config, per_class=12)
    return config


@pytest.mark.parametrize("val_fraction", [0.0, 0.25])
@pytest.mark.parametrize("fold", [0, 1, 2])
def test_every_inner_part_lies_within_the_folds_own_training_part(
    config: Config, fold: int, val_fraction: float
) -> None:
    config = replace(config, split=replace(config.split, val_fraction=val_fraction))
    outer = splits.ensure(config).folds[fold]
    inner_split = splits.ensure(divided(config, fold))
    inner = inner_split.folds[fold]
    assert sorted([*inner.train, *inner.test]) == sorted(outer.train)
    assert inner.val == outer.val
    assert not set(inner_split.subjects) & set(outer.test)
    assert [one for one in inner_split.folds if one.train or one.test] == [inner]
    # Stratified: a quarter of each class, to a subject.
    labels = [inner_split.subjects[name].label for name in inner.test]
    counts = {label: labels.count(label) for label in inner_split.classes}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(inner.test) == pytest.approx(0.25 * len(outer.train), abs=1)


def test_a_test_subjects_volume_cannot_be_opened_by_an_inner_run(config: Config) -> None:
    outer = splits.ensure(config).folds[0]
    inner = divided(config)
    fold = splits.ensure(inner).folds[0]
    volumes = Volumes(inner.cache, splits.rows_for(inner, fold))
    assert volumes[fold.train[0]].any()
    for name in outer.test:
        with pytest.raises(KeyError):
            volumes[name]


def test_scans_of_a_patient_and_near_duplicates_stay_on_one_inner_side(config: Config) -> None:
    rows = read_index(config.cache)
    twins = [replace(row, patient_id=f"p{number // 2}") for number, row in enumerate(rows)]
    write_index(config.cache, twins)
    pair = Pair(rows[0].subject_id, rows[3].subject_id, 0.99)  # of two patients
    duplicates.write(config.cache, (pair,))
    splits.ensure(config)
    for fold in range(3):
        split = splits.ensure(divided(config, fold))
        inner = split.folds[fold]
        patients = [
            {split.subjects[name].patient_id for name in part} for part in (inner.train, inner.test)
        ]
        assert not patients[0] & patients[1]
        assert len({pair.subject_a, pair.subject_b} & {*inner.test}) in (0, 2)


def test_the_division_is_written_once_and_differs_with_what_was_divided(config: Config) -> None:
    first = splits.ensure(divided(config, 0))
    assert splits.ensure(divided(config, 2)).path == first.path
    before = first.path.read_text()
    assert splits.ensure(divided(config, 0)) == first
    assert first.path.read_text() == before
    assert first.path.parent == config.split_file.parent
    half = splits.ensure(divided(config, 0, inner=0.5))
    assert half.path != first.path
    assert len(half.folds[0].test) > len(first.folds[0].test)


def test_an_edited_division_that_judges_on_a_test_subject_is_refused(config: Config) -> None:
    stolen = splits.ensure(config).folds[0].test[0]
    path = splits.ensure(divided(config)).path
    content = json.loads(path.read_text())
    content["folds"][0]["test"].append(stolen)
    path.write_text(json.dumps(content))
    with pytest.raises(LeakageError, match=rf"{stolen} is not of that fold's training part"):
        splits.ensure(divided(config))


def test_a_training_part_without_two_patients_of_a_class_cannot_judge(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, split=SplitConfig(kind="kfold", n=2))
    tiny_cache(config, per_class=2)
    splits.ensure(config)
    with pytest.raises(UserError, match=r"has 1 independent patient; sweep\.select, in the train"):
        splits.check(divided(config))


def test_a_training_part_too_small_for_its_share_is_named_with_what_to_do(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, split=SplitConfig(kind="kfold", n=2))
    tiny_cache(config, per_class=4)
    splits.ensure(config)
    with pytest.raises(UserError) as refused:
        splits.check(divided(config, inner=0.1))
    assert str(refused.value) == (
        "sweep.select cannot judge on 0.1 of the 6 training subjects of fold 0, which are of 6 "
        "independent patients: every class needs one on either side; add scans, or let more "
        "train (split.test_fraction, split.n)"
    )


def test_the_folds_of_a_sweep_are_the_same_with_and_without_a_selection(config: Config) -> None:
    before = splits.ensure(config)
    splits.ensure(divided(config))
    assert splits.ensure(config) == before
    assert splits.whole(divided(config, 0)) == config
