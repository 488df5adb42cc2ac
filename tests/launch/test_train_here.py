"""A sweep on this machine, from submission to results, and what becomes of a run that fails."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest

from launch import local, status, submit
from launch.job import JobError, TrainRuns
from stfmri.study.sweep_file import load_sweep
from tests.launch.conftest import submission

pytestmark = pytest.mark.slow


@pytest.fixture
def on_this_machine(root: Path) -> list[str]:
    return submission(root, "cluster=local")


def test_a_sweep_with_a_run_that_fails_trains_the_others_says_why_and_goes_on_later(
    root: Path,
    on_this_machine: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    [shard] = root.glob("data/cache/tiny-10mm-*/shard-0000.h5")
    axis = "sweep.axes={train.learning_rate:[1e-3,1e30]}"
    assert submit.main([*on_this_machine, axis, "sweep.folds=[0]", "cluster.local_jobs=2"]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "mc3_18-scratch-1e+30/fold0 failed" in told
    assert "lower train.learning_rate" in told
    assert "try train.precision" not in told  # it was fp32

    summary = json.loads((root / "results/demo/summary.json").read_text(encoding="utf-8"))
    assert summary["missing"] == ["mc3_18-scratch-1e+30/fold0"]
    assert summary["complete"] is False

    assert status.main(["--sweep", "demo", "--root", str(root)]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "2 runs: 1 done, 1 failed" in told
    assert "the loss of epoch" in told

    # Beside another run no peak of the device can be measured, and none is made up.
    done, _ = load_sweep(root / "runs/demo").runs
    record = json.loads((done.folder / "provenance.json").read_text(encoding="utf-8"))
    assert record["matrix_peak_share"] is None

    # Only what failed is tried again; it was collected once, and that is enough.
    monkeypatch.setattr(local, "collect", lambda *_: 0)
    before = (done.folder / "predictions.csv").stat().st_mtime_ns
    assert submit.main(["--sweep", "demo", "--root", str(root), "cluster=local"]) == 1
    assert (done.folder / "predictions.csv").stat().st_mtime_ns == before
    assert shard.is_file()


def test_packed_runs_end_each_for_itself_and_share_the_cores(
    root: Path, on_this_machine: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    axis = "sweep.axes={train.learning_rate:[1e-3,1e30]}"
    typed = (axis, "sweep.folds=[0]", "train.threads=0")
    monkeypatch.setattr(submit, "train_on_this_machine", lambda *rest: None)
    submit.main([*on_this_machine, *typed])
    good, bad = load_sweep(root / "runs/demo").runs
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "64")
    call = TrainRuns([str(bad.config_file), str(good.config_file)])
    with pytest.raises(JobError, match=r"1 of 2 runs failed.*1e\+30"):
        call()
    assert good.is_done()
    assert not bad.is_done()
    assert "lower train.learning_rate" in (bad.folder / "train.err").read_text(encoding="utf-8")
    assert "epoch 2" in (good.folder / "train.out").read_text(encoding="utf-8")
    record = json.loads((good.folder / "provenance.json").read_text(encoding="utf-8"))
    assert record["threads"] == max(1, len(os.sched_getaffinity(0)) // 2)
    assert record["matrix_peak_share"] is None
    alone = TrainRuns(call.configs, neighbours=3)
    assert pickle.loads(pickle.dumps(alone)) == alone
    assert pickle.loads(pickle.dumps(call)) == TrainRuns(call.configs)


def frozen(folder: Path, program: str) -> Path:
    """A folder of code whose collector is a program."""
    package = folder / "stfmri"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "collect.py").write_text(program)
    return folder


@pytest.mark.parametrize("safe_path", ["", "1"])
def test_results_are_made_by_the_frozen_code(
    safe_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", safe_path)
    code = frozen(tmp_path, "import sys; sys.exit(len(sys.argv))")
    assert local.collect(["--sweep", "demo"], code) == 3


def test_a_collector_that_is_killed_is_a_failure_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = frozen(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert local.collect([], code) == 1
    assert capsys.readouterr().err == "error: SIGKILL ended -m stfmri.collect\n"


def test_an_interrupt_lets_the_collector_tidy_up(tmp_path: Path) -> None:
    program = """
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, lambda *_: pathlib.Path("tidied").touch())
os.kill(os.getppid(), signal.SIGINT)  # as if the terminal had sent it
while not pathlib.Path("tidied").exists():
    time.sleep(0.01)
"""
    with pytest.raises(KeyboardInterrupt):
        local.collect([], frozen(tmp_path, program))
    assert (tmp_path / "tidied").exists()
