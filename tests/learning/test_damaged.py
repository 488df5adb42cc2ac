"""Files that have changed behind a run's back: named where they decide, passed over where not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from stfmri.learning import checkpoint, models, training
from stfmri.study import config as configuration
from stfmri.study.config.training import CheckpointConfig
from stfmri.study.errors import UserError
from stfmri.study.shards import CacheError, read_index
from tests.learning.small import SMALL
from tests.tiny import damage_volume, tiny_cache, tiny_config

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network, and a process of its own as far as Accelerate knows."""
    monkeypatch.setitem(models.NETWORKS, "mc3_18", SMALL)
    AcceleratorState._reset_state(reset_partial_state=True)


def run_of(root: Path, fold: int = 0) -> Path:
    """The frozen configuration of a run of three epochs, each with a checkpoint."""
    config = tiny_config(root, checkpoint=CheckpointConfig(every_s=0))
    config = replace(
        config,
        model=replace(config.model, name="mc3_18"),
        train=replace(config.train, epochs=3),
        split=replace(config.split, fold=fold),
    )
    if not (config.cache / "index.csv").exists():
        tiny_cache(config)
    file = root / "runs" / "some" / "mc3_18-scratch" / f"fold{fold}" / "config.yaml"
    configuration.save(config, file)
    return file


def again(file: Path) -> None:
    """As another process would."""
    AcceleratorState._reset_state(reset_partial_state=True)
    training.train_run(file)


def unfinished(file: Path) -> list[Path]:
    """Train up to the predictions; the state files of the checkpoints, newest first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Run, "_write", lambda self, probabilities: None)
        again(file)
    return sorted(file.parent.glob("checkpoint/*/state.pt"), reverse=True)


@pytest.mark.parametrize("side", ["train", "test"])
def test_a_run_on_a_damaged_volume_ends_naming_it_and_publishes_nothing(
    tmp_path: Path, side: str
) -> None:
    file = run_of(tmp_path)
    config = configuration.load(file)
    fold = training.splits.ensure(config).folds[0]
    subject = getattr(fold, side)[1]
    row = next(row.row for row in read_index(config.cache) if row.subject_id == subject)
    damage_volume(tmp_path, row, b"\x01")
    with pytest.raises(CacheError, match=rf"shard-0000\.h5 is damaged: the volume of {subject} "):
        training.train_run(file)
    assert not (file.parent / "predictions.csv").exists()
    assert not (file.parent / "model.pt").exists()
    assert not (file.parent / "checkpoint").exists()


def changed(**changes: object) -> Callable[[Path], None]:
    """Write a checkpoint again with some of its entries changed, and checksums that fit."""

    def write(file: Path) -> None:
        state = torch.load(file, weights_only=True)
        checkpoint.write_tensors(file, {**state, **changes})

    return write


def without(key: str) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        state = torch.load(file, weights_only=True)
        del state[key]
        checkpoint.write_tensors(file, state)

    return write


def zeroed(file: Path) -> None:
    """Zeros in the optimiser's state, as a lost block of a disk reads."""
    state = torch.load(file, weights_only=True)
    moment = next(iter(state["optimizer"]["state"].values()))["exp_avg"].numpy().tobytes()
    content = file.read_bytes()
    place = content.index(moment)
    file.write_bytes(content[:place] + bytes(len(moment)) + content[place + len(moment) :])


@pytest.mark.parametrize(
    "break_it",
    [
        lambda file: file.unlink(),
        zeroed,
        without("precision"),
        without("network"),
        changed(epoch="x"),
        changed(network={"w": torch.ones(2)}),
        changed(optimizer={}),
        changed(history={"rows": [], "timings": {}}),
        changed(history={"rows": [{"epoch": 1.0}], "timings": {}}),
        changed(of="another run"),
    ],
    ids=[
        *("empty", "optimiser", "no precision", "no network", "epoch x", "another network"),
        *("no optimiser", "no history", "other history", "another run"),
    ],
)
def test_a_damaged_or_foreign_checkpoint_gives_way_to_the_one_before_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], break_it: Callable[[Path], object]
) -> None:
    untouched, file = run_of(tmp_path / "a"), run_of(tmp_path / "b")
    again(untouched)
    newest, before = unfinished(file)
    break_it(newest)
    capfd.readouterr()
    again(file)
    said = capfd.readouterr().out
    assert f"counts as absent: {newest.parent}" in said
    assert "from epoch 2 of 3" in said
    assert before.is_file() is False  # the run is done, and keeps the last one alone
    name = "predictions.csv"
    assert (file.parent / name).read_bytes() == (untouched.parent / name).read_bytes()


def test_without_any_readable_checkpoint_a_run_begins_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    untouched, file = run_of(tmp_path / "a"), run_of(tmp_path / "b")
    again(untouched)
    for state in unfinished(file):
        changed(network={"w": torch.ones(2)})(state)
    again(file)
    assert "from epoch 0 of 3" in capfd.readouterr().out
    name = "predictions.csv"
    assert (file.parent / name).read_bytes() == (untouched.parent / name).read_bytes()


def test_the_checkpoints_of_another_fold_are_not_gone_on_from(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = run_of(tmp_path, 0), run_of(tmp_path, 1)
    unfinished(first)
    shutil.copytree(first.parent / "checkpoint", second.parent / "checkpoint")
    capfd.readouterr()
    again(second)
    assert "from epoch 0 of 3" in capfd.readouterr().out


def test_a_model_that_has_changed_is_refused(tmp_path: Path) -> None:
    file = run_of(tmp_path)
    training.train_run(file)
    model = file.parent / "model.pt"
    whole = model.read_bytes()
    weights = (
        models.load_trained(file.parent).network.state_dict()["stem.0.weight"].numpy().tobytes()
    )
    place = whole.index(weights) + 10
    model.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(UserError, match=r"model\.pt is damaged.*has changed since"):
        models.load_trained(file.parent)
    content = torch.load(_written(model, whole), weights_only=True)
    content["state_dict"]["stem.0.weight"] += 1
    checkpoint.write_tensors(model, content)  # whole, but of somebody else
    with pytest.raises(UserError, match=r"model\.pt is not the model that this run wrote"):
        models.load_trained(file.parent)


def _written(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


def test_temporary_files_of_a_killed_run_go_when_it_starts_again(tmp_path: Path) -> None:
    file = run_of(tmp_path)
    left, other = file.parent / ".model.pt.abcd1234.tmp", file.parent / ".lock.abcd1234.tmp"
    left.write_text("half")
    other.write_text("of a process that tries to start")
    os.mkfifo(file.parent / ".pipe.abcd1234.tmp")
    training.train_run(file)
    assert not left.exists()
    assert other.exists()
