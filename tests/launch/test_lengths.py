"""How long networks will train, and take, before any of them has started."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from launch import show, submit
from launch.lengths import epochs_by_name, possible_lengths
from launch.outlook import outlook
from launch.pace import earlier_pace
from launch.plan import Opened, open_sweep
from launch.states import NEW, RunState
from stfmri.study import config as configuration
from stfmri.study import selection, splits
from stfmri.study.config.sweep import ClusterConfig
from stfmri.study.files import private_dir
from stfmri.study.lengths import batches_of
from stfmri.study.sweep_file import write_sweep
from tests.launch.conftest import TINY, submission


def opened(root: Path, *typed: str) -> Opened:
    return open_sweep("demo", None, root, [*TINY, "train.batch_size=4", *typed])


def test_the_epochs_of_every_fold_are_those_that_its_steps_need(root: Path) -> None:
    sweep = opened(root, "train.steps=30", "sweep.axes={split.train_fraction:[0.75,1.0]}").sweep
    found = epochs_by_name(sweep, sweep.runs)
    for run in sweep.runs:
        config = sweep.config_of(run)
        trained = len(splits.check(config).fold_of(config.split).train)
        # Four volumes a step; of nine, the one that is left over joins the step before it.
        steps = {6: 2, 8: 2, 9: 2}[trained]
        assert found[run.name] == 30 // steps
    assert not list(root.rglob("splits/*.json"))


def test_a_cache_that_cannot_be_reached_leaves_the_epochs_unknown(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*of: object) -> None:
        raise OSError(116, "Stale file handle")

    sweep = opened(root).sweep
    monkeypatch.setattr(splits, "whole", unreachable)
    assert epochs_by_name(sweep, sweep.runs) == {}


def test_inner_runs_train_on_a_part_and_so_for_more_epochs(root: Path) -> None:
    chosen = "sweep.select={train.learning_rate:[1e-3,1e-4]}"
    sweep = opened(root, "train.steps=30", "split.test_fraction=0.25", chosen).sweep
    [first, *_] = sweep.runs
    [inner, _] = sweep.inner_runs(first)
    found = epochs_by_name(sweep, [inner, first])
    config = sweep.config_of(inner)
    trained = len(splits.check(config).folds[config.split.fold].train)
    assert found[inner.name] == -(-30 // -(-trained // 4))


def test_a_run_that_chooses_its_batch_size_has_its_epochs_once_it_has_chosen(root: Path) -> None:
    sizes = (2, 8)
    chosen = "sweep.select={train.batch_size:[2,8]}"
    sweep = opened(root, "train.steps=60", "split.test_fraction=0.25", chosen).sweep
    first, second = sweep.runs
    config = sweep.config_of(first)
    trained = len(splits.check(config).folds[0].train)
    assert set(epochs_by_name(sweep, [first, second])) == set()
    assert [length.epochs for length in possible_lengths(sweep, [first])[first.name]] == [
        -(-60 // batches_of(trained, size)) for size in sizes
    ]
    private_dir(first.folder)
    with_eight = replace(config, train=replace(config.train, batch_size=8))
    configuration.save(with_eight, first.folder / selection.SELECTED_FILE)
    expected = -(-60 // batches_of(trained, 8))
    assert epochs_by_name(sweep, [first, second]) == {first.name: expected}


def test_a_choice_that_leaves_the_length_as_it_is_does_not_hide_it(root: Path) -> None:
    chosen = "sweep.select={train.learning_rate:[1e-3,1e-4]}"
    sweep = opened(root, "train.steps=30", "split.test_fraction=0.25", chosen).sweep
    plain = opened(root, "train.steps=30", "split.test_fraction=0.25").sweep
    assert epochs_by_name(sweep, sweep.runs) == epochs_by_name(plain, plain.runs)


def test_of_an_axis_of_steps_all_are_named_that_decide_the_length(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axes = "sweep.axes={train.steps:[0,30,60]}"
    assert submit.main([*submission(root, "train.batch_size=4", axes), "--dry-run"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert (
        "each network trains 2 to 30 epochs of 2 steps: train.steps=30 or 60 asks for more than "
        "train.epochs=2 does"
    ) in told


def test_epochs_without_effect_are_said_with_what_to_set(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    once = show.possible_lengths
    monkeypatch.setattr(show, "possible_lengths", lambda *of: asked.append("") or once(*of))

    def said(*typed: str) -> str:
        assert submit.main([*submission(root, *typed), "--dry-run"]) == 0
        return " ".join(capsys.readouterr().out.split())

    told = said("train.steps=30", "train.batch_size=4", "train.epochs=6")
    assert "each network trains 15 epochs of 2 steps: train.steps=30 asks for more" in told
    assert (
        "train.epochs=6 has no effect, since train.steps=30 asks for 15 epochs of 2 steps; add "
        "train.steps=0 to train 6 epochs"
    ) in told
    told = said("train.steps=0", "train.batch_size=4", "train.epochs=6")
    assert "each network trains 6 epochs of 2 steps" in told
    assert "no effect" not in told
    assert len(asked) == 2  # lengths are worked out once a plan


def train(root: Path, name: str, volume_s: float) -> None:
    """Leave what a sweep that trained one epoch of fold 0 leaves."""
    sweep = open_sweep("demo", name, root, TINY).sweep
    write_sweep(sweep)
    run = sweep.runs[0]
    private_dir(run.folder)
    configuration.save(sweep.config_of(run), run.config_file)
    line = f"1,2,0.5,{8 * volume_s},{1 / volume_s}"
    (run.folder / "metrics.csv").write_text(
        f"epoch,epochs,train_loss,seconds,samples_per_s\n{line}\n"
    )
    (run.folder / "provenance.json").write_text(json.dumps({"device": "a slow one"}))


def test_the_time_is_that_of_the_newest_sweep_of_the_same_network_and_volumes(root: Path) -> None:
    sweep = opened(root).sweep
    states = [RunState(run, NEW) for run in sweep.runs]
    cluster = ClusterConfig(local_jobs=1)
    lengths = possible_lengths(sweep, sweep.runs)
    plan = outlook(sweep, cluster, states, lengths, on_slurm=False)
    assert plan[-1] == "how long the networks take will be shown after the first epoch"
    train(root, "older", 1000.0)
    os.utime(root / "runs/older/sweep.yaml", (1e9, 1e9))
    train(root, "newer", 10.0)
    # Two folds of two epochs of eight or nine volumes.
    trained = [len(fold.train) for fold in splits.check(sweep.first).folds]
    minutes = round(10.0 * 2 * sum(trained) / 60)
    assert outlook(sweep, cluster, states, lengths, on_slurm=False)[-1] == (
        f"at the pace of newer/mc3_18-scratch on a slow one: about {minutes} min with 1 run at a "
        "time"
    )
    config = sweep.first
    assert earlier_pace(replace(config, model=replace(config.model, name="sfcn"))) is None
    finer = replace(config.preprocessing, spacing_mm=5.0)
    assert earlier_pace(replace(config, preprocessing=finer)) is None


def test_the_plan_of_many_runs_has_a_line_for_those_of_a_variant_that_are_alike(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = ["split.n=16", "split.test_fraction=0.25", "sweep.models=[mc3_18,sfcn]"]
    assert submit.main([*submission(root, *many, "cluster=local"), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[2:4]] == [
        ["mc3_18-scratch:", "16", "runs", "not", "submitted", "this", "machine"],
        ["sfcn-scratch:", "16", "runs", "not", "submitted", "this", "machine"],
    ]
