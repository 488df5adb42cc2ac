"""Weights that were pre-trained on MRI, from the plan of a sweep to its runs' configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch import inputs, submit
from launch.plan import open_sweep
from stfmri.study import cards, pretrained, splits
from stfmri.study.cards import Card, Seen
from stfmri.study.config import Config
from stfmri.study.config.training import ModelConfig
from stfmri.study.files import sha256_of
from tests.launch.conftest import TINY, submission

WEIGHTS = "sweep.weights=[scratch,pretrained:sex]"


def publish(config: Config, subjects: tuple[str, ...], fold: int | None) -> None:
    """Weights, of no tensors, that saw these subjects."""
    rows = {row.subject_id: row for row in splits.rows_of(config)}
    folder = pretrained.folder_of(Path(config.root), "sex", fold)
    folder.mkdir(parents=True)
    (folder / "weights.pt").write_bytes(str(fold).encode())
    card = Card(
        name="sex",
        network="mc3_18",
        stem="basic",
        slice_axis="axial",
        channels=("scan",),
        shape=(12, 12, 12),
        cohort="tiny",
        task="supervised",
        method="trained to classify sex (F and M)",
        label="sex",
        classes=("F", "M"),
        fold=fold,
        split_sha256="",
        chain={**config.chain, "preprocessing.skullstrip": "none"},
        licence="",
        seed=0,
        epochs=2,
        final={},
        code={},
        weights_sha256=sha256_of(folder / "weights.pt"),
        subjects=tuple(Seen(name, name, rows[name].sha256) for name in subjects),
    )
    cards.write(card, folder)


def first_config(root: Path) -> Config:
    opened = open_sweep("demo", None, root, list(TINY))
    return opened.sweep.first


def publish_folds(root: Path) -> None:
    """Weights for each fold, that saw its training subjects."""
    config = first_config(root)
    for number, fold in enumerate(splits.ensure(config).folds):
        publish(config, fold.train, number)


def test_each_run_is_given_its_own_folds_file_and_its_hash(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_folds(root)
    assert submit.main(submission(root, WEIGHTS, "--dry-run")) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "mc3_18-pretrained_sex" in said
    assert "preprocessing.skullstrip was none, is deepbet" in said
    sweep = open_sweep("demo", None, root, [*TINY, WEIGHTS]).sweep
    inputs.check(sweep)
    complete = inputs.prepare(sweep, sweep.runs)
    for number in range(2):
        model = complete[f"mc3_18-pretrained_sex/fold{number}"].model
        folder = pretrained.folder_of(root, "sex", number)
        assert model.weights_file == str(folder / "weights.pt")
        assert model.weights_hash == sha256_of(folder / "weights.pt")
        scratch = complete[f"mc3_18-scratch/fold{number}"].model
        assert scratch == ModelConfig(
            name="mc3_18",
            weights_name=scratch.weights_name,
            weights_hash=scratch.weights_hash,
        )


def test_weights_of_the_whole_cohort_end_the_submission_naming_who_is_tested(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = first_config(root)
    split = splits.ensure(config)
    publish(config, tuple(split.subjects), None)
    assert submit.main(submission(root, "cluster=local", WEIGHTS)) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert "was pre-trained on 4 subjects that fold 0 tests" in complaint
    assert f"{split.folds[0].test[0]} (the same volume)" in complaint
    assert not (root / "runs/demo/sweep.yaml").exists()


def test_weights_that_nobody_made_end_the_submission_with_the_command_for_them(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit.main(submission(root, "cluster=local", WEIGHTS)) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert "python -m stfmri.pretrain … --name sex" in complaint


def test_freezing_every_stage_ends_the_submission_naming_them(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_folds(root)
    assert submit.main(submission(root, WEIGHTS, "--dry-run", "train.freeze=4")) == 0
    capsys.readouterr()
    assert submit.main(submission(root, WEIGHTS, "train.freeze=6")) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "train.freeze must be at most 5, the stages before the head" in error
    assert "layer4" in error
    assert not (root / "runs/demo/sweep.yaml").exists()
