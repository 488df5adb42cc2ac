"""A sweep over parts of the training subjects, as submitted, trained and fitted."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from launch import submit
from launch.job import RunBaselines, baselines_by_fold
from stfmri.learning import training
from stfmri.study import splits
from stfmri.study.runs import Sweep
from stfmri.study.sweep_file import load_sweep
from tests.launch.conftest import submission

AXIS = "sweep.axes={split.train_fraction:[0.8,1.0]}"
ASKED = (AXIS, "sweep.baselines=[intensity]", "sweep.folds=[0]", "train.epochs=1", "cluster=local")


@pytest.fixture
def sweep(root: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.setattr(submit, "train_on_this_machine", lambda *rest: None)
    submit.main(submission(root, *ASKED))
    return load_sweep(root / "runs/demo")


def test_a_part_without_two_patients_of_a_class_is_refused_when_submitting(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axis = "sweep.axes={split.train_fraction:[0.3,1.0]}"
    assert submit.main(submission(root, axis, "cluster=local")) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert "split.train_fraction=0.3 leaves 1 independent patient of class" in said
    assert not (root / "runs/demo/sweep.yaml").exists()


def test_runs_open_their_part_of_one_split_file(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = sweep.config_of(sweep.runs[0])
    split = splits.ensure(config)
    assert len(list(split.path.parent.iterdir())) == 1
    expected = splits.reduced(split.file, 0, split.subjects, 0.8)
    assert 2 * 3 == len(expected.train) < len(split.folds[0].train)
    opened = []
    monkeypatch.setattr(
        training,
        "open_part",
        lambda *args, **rest: opened.append(args[1]) or original(*args, **rest),
    )
    training.train_run(sweep.runs[0].config_file)
    AcceleratorState._reset_state(reset_partial_state=True)
    assert set(opened[0]) == set(expected.train)
    assert set(opened[-1]) == set(split.folds[0].test)


original = training.open_part


def test_a_job_of_baselines_fits_every_part(sweep: Sweep) -> None:
    [call] = baselines_by_fold(sweep.folder, sweep.baseline_runs)
    assert call == RunBaselines(str(sweep.folder), 0, ("intensity",))
    call()
    assert all(run.is_done() for run in sweep.baseline_runs)
    assert {run.variant for run in sweep.baseline_runs} == {
        "baseline-intensity",
        "baseline-intensity-train_0.8",
    }
