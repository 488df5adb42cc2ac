from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stfmri.study import splits
from stfmri.study.config.data import DataConfig
from stfmri.study.config.split import SplitConfig
from stfmri.study.errors import ConfigError, LeakageError, UserError
from stfmri.study.splits import Fold, Subject
from tests.tiny import tiny_cache, tiny_config


def cohort(counts: dict[str, int]) -> list[Subject]:
    return [
        Subject(f"{label}{n:03d}", f"{label}{n:03d}", "site", label, f"hash-{label}-{n}")
        for label, count in counts.items()
        for n in range(count)
    ]


PAPER = {"LGG": 73, "HGG": 259, "Healthy": 259}


def test_the_papers_cohort_splits_70_to_30_within_every_class() -> None:
    subjects = cohort(PAPER)
    folds = splits.draw(subjects, tiny_config(Path(), split=SplitConfig()))
    assert len(folds) == 3
    label = {s.subject_id: s.label for s in subjects}
    for fold in folds:
        assert sorted(fold.train + fold.test) == sorted(label)
        assert len(fold.test) == 178
        counts = Counter(label[s] for s in fold.test)
        assert all(abs(counts[name] - 0.3 * total) <= 1 for name, total in PAPER.items())
    assert len({fold.test for fold in folds}) == 3


def test_folds_of_kfold_test_every_subject_exactly_once() -> None:
    subjects = cohort({"a": 11, "b": 9})
    folds = splits.draw(subjects, tiny_config(Path(), split=SplitConfig(kind="kfold", n=5)))
    tested = [s for fold in folds for s in fold.test]
    assert sorted(tested) == sorted(s.subject_id for s in subjects)


def test_a_validation_part_comes_out_of_training_alone() -> None:
    subjects = cohort({"a": 20, "b": 20})
    plain = splits.draw(subjects, tiny_config(Path(), split=SplitConfig()))
    held = splits.draw(subjects, tiny_config(Path(), split=SplitConfig(val_fraction=0.25)))
    for one, other in zip(plain, held, strict=True):
        assert one.test == other.test
        assert sorted(other.train + other.val) == sorted(one.train)
        assert len(other.val) == 7


def test_subjects_that_share_a_patient_or_a_volume_stay_together() -> None:
    subjects = cohort({"a": 12, "b": 12})
    # a000 and a001 are one patient; a001 and b000 hold the same voxels: one component of three.
    subjects[1] = replace(subjects[1], patient_id="a000")
    subjects[12] = replace(subjects[12], sha256=subjects[1].sha256)
    assert [len(group) for group in splits.group_subjects(subjects)] == [3] + [1] * 21
    for seed in range(5):
        config = tiny_config(Path(), split=SplitConfig(seed=seed, n=4))
        for fold in splits.draw(subjects, config):
            assert len({"a000", "a001", "b000"} & set(fold.test)) in (0, 3)


@pytest.mark.parametrize("shared", ["patient_id", "sha256"])
def test_a_leaking_fold_is_refused_naming_the_subjects(shared: str) -> None:
    subjects = {s.subject_id: s for s in cohort({"a": 2, "b": 2})}
    subjects["b000"] = replace(subjects["b000"], **{shared: getattr(subjects["a000"], shared)})
    fold = Fold(("a000", "a001"), (), ("b000", "b001"))
    with pytest.raises(LeakageError, match=r"a000 \(train\) and b000 \(test\)"):
        splits.guard(fold, subjects, "split.json")


def test_a_split_is_written_once_and_then_only_read(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    tiny_cache(config)
    drawn = splits.ensure(config)
    before = drawn.path.read_bytes()
    again = splits.ensure(config)
    assert again.folds == drawn.folds
    assert drawn.path.read_bytes() == before
    content = json.loads(before)
    assert content["classes"] == ["LGG", "HGG", "Healthy"]
    assert content["seed"] == 0


def test_a_changed_cohort_or_other_settings_refuse_the_old_file(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    tiny_cache(config)
    splits.ensure(config)
    other = replace(config, split=replace(config.split, test_fraction=0.5))
    with pytest.raises(UserError, match=r"test_fraction is 0\.3 there, 0\.5 here"):
        splits.ensure(other)
    tiny_cache(config, per_class=5)
    with pytest.raises(UserError, match="drawn for another cohort"):
        splits.ensure(config)


def test_an_edited_split_that_leaks_is_never_trained_on(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    tiny_cache(config)
    path = splits.ensure(config).path
    content = json.loads(path.read_text())
    content["folds"][0]["train"].append(content["folds"][0]["test"][0])
    path.write_text(json.dumps(content))
    with pytest.raises(LeakageError, match="the same subject"):
        splits.ensure(config)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: [],
        lambda content: {**content, "folds": None},
        lambda content: {**content, "folds": [{"train": [1]}]},
        lambda content: {**content, "folds": content["folds"][:1]},
        lambda content: {**content, "folds": [*content["folds"], content["folds"][0]]},
        lambda content: {**content, "folds": [{"train": "abc", "val": [], "test": "d"}] * 2},
        lambda content: {**content, "folds": [{"train": [{}], "val": [], "test": []}] * 2},
        lambda content: {**content, "folds": [{"train": [], "val": [], "test": []}] * 2},
        lambda content: {**content, "classes": ["HGG", "LGG", "Healthy"]},
        lambda content: {**content, "cohort_sha256": 3},
    ],
)
def test_a_split_file_spoilt_by_hand_is_one_clear_line(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], object]
) -> None:
    config = tiny_config(tmp_path)
    tiny_cache(config)
    path = splits.ensure(config).path
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    with pytest.raises(UserError, match="random-label-2-0") as caught:
        splits.ensure(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"3"])
def test_a_file_that_is_no_split_is_named(tmp_path: Path, content: bytes) -> None:
    config = tiny_config(tmp_path)
    tiny_cache(config)
    path = splits.ensure(config).path
    path.write_bytes(content)
    with pytest.raises(UserError, match="is no split file"):
        splits.ensure(config)


def test_wrong_labels_and_classes_are_one_clear_line(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    tiny_cache(config)
    with pytest.raises(ConfigError, match=r"no column 'grade'.*it has label"):
        splits.ensure(replace(config, data=DataConfig(name="tiny", label="grade")))
    with pytest.raises(ConfigError, match="unknown class Healthy"):
        splits.ensure(replace(config, data=DataConfig(name="tiny", classes=("LGG", "HGG"))))
    with pytest.raises(UserError, match=r"class 'HGG' has 4 independent patients"):
        splits.ensure(replace(config, split=SplitConfig(kind="kfold", n=5)))
