"""How far a run is, told from files and the queue alone."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import pytest

from launch import states, status
from launch.cli import minutes
from launch.progress import Epochs, epochs_of
from launch.states import states_of, why_failed
from slurm.logs import log_paths
from slurm.queue import Job, JobState
from stfmri.study import locks
from stfmri.study.compose import compose
from stfmri.study.files import private_dir
from stfmri.study.jobs import Submission, append_jobs, last_jobs
from stfmri.study.runs import Run, Sweep
from stfmri.study.sweep_file import write_sweep

DONE_TABLE = (
    "subject_id,patient_id,source,fold,split,label,prediction,prob_a,prob_b\n"
    "s,p,x,0,test,a,a,0.9,0.1\n"
)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    # As many variants as there are states to be in.
    asked = ["sweep.models=[r3d_18]", "sweep.axes={train.epochs:[1,2,3,4,5,6,7,8]}"]
    config = compose(asked, sweep="demo", root=tmp_path)
    names = ("done", "running", "pending", "failed", "stopped", "new", "killed", "local")
    runs = [
        Run(name, "r3d_18", "scratch", 0, private_dir(tmp_path / "runs/demo" / name / "fold0"))
        for name in names
    ]
    made = Sweep(config, runs, "demo")
    write_sweep(made)
    submitted = [name for name in names if name not in ("new", "local")]
    append_jobs(
        made.folder,
        [Submission(f"{name}/fold0", "7", index, "t") for index, name in enumerate(submitted)],
    )
    (runs[0].folder / "predictions.csv").write_text(DONE_TABLE)
    traceback = "Traceback (most recent call last):\n  File x\nstfmri.Trouble: the loss is nan\n"
    (runs[3].folder / "train.err").write_text(traceback)
    log = log_paths(made.folder / "logs", Job("7", 5))[1]
    private_dir(log.parent)
    log.write_text("slurmstepd: error: *** JOB 9 ON n1 CANCELLED AT 2026 DUE TO TIME LIMIT ***\n")
    metrics = runs[1].folder / "metrics.csv"
    metrics.write_text("epoch,train_loss,seconds\n1,0.9,10.0\n2,0.75,20.0\n")
    os.utime(metrics, (2e9, 2e9))  # no time has passed since its last epoch
    return made


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Jobs 7_1 and 7_2 are alive; the list counts how often that was asked."""
    asked: list[int] = []

    def alive() -> dict[Job, JobState]:
        asked.append(1)
        return {
            Job("7", 1): JobState("RUNNING", "None", None, 60),
            Job("7", 2): JobState("PENDING", "Priority", None, None),
        }

    monkeypatch.setattr(states, "alive", alive)
    monkeypatch.setattr(states, "remembered", lambda jobs, since: {})
    monkeypatch.setattr(states, "has_slurm", lambda: True)
    return asked


def test_each_run_is_in_the_state_that_its_files_and_the_queue_tell(
    sweep: Sweep, queue: list[int]
) -> None:
    with locks.lock(sweep.runs[7].folder):
        found = {state.run.variant: state.state for state in states_of(sweep)}
    assert found == {
        "done": "done",
        "running": "running",
        "pending": "pending",
        "failed": "failed",
        "stopped": "stopped",
        "new": "not submitted",
        "killed": "failed",
        "local": "running",
    }
    assert len(queue) == 1


def test_without_slurm_no_queue_is_asked(
    sweep: Sweep, queue: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "has_slurm", lambda: False)
    states_of(sweep)
    assert queue == []


def test_status_tells_what_failed_and_why(
    sweep: Sweep, queue: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    root = sweep.config.root
    assert status.main(["--sweep", "demo", "--root", root]) == 1
    told = " ".join(capsys.readouterr().out.split())
    for line in (
        "failed/fold0 failed: stfmri.Trouble: the loss is nan",
        "killed/fold0 failed: timed out: JOB 9 ON n1 CANCELLED AT 2026 DUE TO TIME LIMIT (job 7_5, "
        f"log {sweep.folder}/logs/7_5_0_log.err)",
        "stopped/fold0 stopped: job 7_4 ended before its predictions (job 7_4, it had not started)",
        "running/fold0 running 2/3 0.7500 15 s left job 7_1",
        "job 7_2 (Priority)",
        "8 runs: 1 done, 1 running, 1 pending, 2 failed, 1 stopped, 2 not submitted",
    ):
        assert line in told


CANCELLED = "slurmstepd-n1: error: *** JOB 9 ON n1 CANCELLED AT 2026-03-01T10:00:00"
MEMORY = "slurmstepd-n1: error: StepId=9.0 exceeded memory limit (2 > 1), being killed\n"


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (f"{CANCELLED} ***\n", "stopped: cancelled: JOB 9"),
        (f"{CANCELLED} DUE TO PREEMPTION ***\n", "stopped: preempted: JOB 9"),
        (f"{CANCELLED} DUE TO TIME LIMIT ***\n", "failed: timed out: JOB 9"),
        (f"{MEMORY}{CANCELLED} ***\n", "failed: out of memory: StepId=9.0 exceeded"),
        ("Traceback (most recent call last):\n  x\nMemoryError\n", "failed: out of memory: Memory"),
        (
            "Traceback (most recent call last):\n  x\nValueError: caught\nepoch 2 of 9\n"
            "srun: error: n1: task 0: Killed\n",
            "stopped: killed: n1: task 0: Killed",
        ),
    ],
)
def test_an_ended_job_is_called_what_ended_it_and_its_log_is_named(
    sweep: Sweep, queue: list[int], log: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = log_paths(sweep.folder / "logs", Job("7", 4))[1]
    path.write_text(log)
    status.main(["--sweep", "demo", "--root", sweep.config.root])
    said = " ".join(capsys.readouterr().out.split())
    assert f"stopped/fold0 {told}" in said
    assert f"(job 7_4, log {path})" in said


def test_a_job_that_waits_once_more_is_said_to_with_what_ended_it_before(
    sweep: Sweep, queue: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = log_paths(sweep.folder / "logs", Job("7", 2))[1]
    path.write_text(f"{CANCELLED} DUE TO PREEMPTION ***\n")
    status.main(["--sweep", "demo", "--root", sweep.config.root])
    assert "pending/fold0 pending again: preempted" in " ".join(capsys.readouterr().out.split())


def test_an_error_older_than_a_job_that_never_started_is_not_its_end(
    sweep: Sweep, queue: list[int]
) -> None:
    run = sweep.runs[3]  # its process left a traceback, and its job no log
    append_jobs(sweep.folder, [Submission(run.name, "9", None, "2099-01-01T00:00:00+00:00")])
    assert states_of(sweep)[3].state == "stopped"
    append_jobs(sweep.folder, [Submission(run.name, "9", None, "2020-01-01T00:00:00+00:00")])
    assert states_of(sweep)[3].state == "failed"


def test_an_error_older_than_a_job_that_died_early_is_not_its_end(
    sweep: Sweep, queue: list[int]
) -> None:
    run = sweep.runs[3]  # its process left a traceback
    append_jobs(sweep.folder, [Submission(run.name, "9", None, "2099-01-01T00:00:00+00:00")])
    log_paths(sweep.folder / "logs", Job("9"))[1].write_text("module: command not found\n")
    assert why_failed(run, last_jobs(sweep.folder)[run.name], sweep.folder) == (
        "module: command not found"
    )


def test_epochs_are_read_from_the_metrics(sweep: Sweep) -> None:
    assert epochs_of(sweep.runs[1]) == Epochs(2, 30.0, 0.75, pace_s=15.0)
    assert epochs_of(sweep.runs[0]) == Epochs()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (59, "59 s"),
        (59.7, "1 min"),
        (60, "1 min"),
        (3599, "1 h 00 min"),
        (7260, "2 h 01 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations_are_told_as_people_say_them(seconds: float | None, text: str) -> None:
    assert minutes(seconds) == text


@pytest.fixture
def in_turn(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """The sweep on a machine without SLURM, whose runs another process starts in turn."""
    (sweep.folder / "jobs.csv").unlink()
    monkeypatch.setattr(states, "has_slurm", lambda: False)
    launcher = locks.Holder("here", 7, "0", "", "2026-01-01T12:00:00+00:00")

    def holder(folder: Path) -> locks.Holder | None:
        return launcher if folder == sweep.folder else None

    monkeypatch.setattr(locks, "holder", holder)
    return sweep


def leave(run: Run, name: str, text: str, moment: str) -> None:
    path = private_dir(run.folder) / name
    path.write_text(text)
    seconds = datetime.fromisoformat(moment).timestamp()
    os.utime(path, (seconds, seconds))


def test_runs_wait_for_the_process_that_starts_them_until_they_begin_and_fail_after_that(
    in_turn: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {run.variant: run for run in in_turn.runs}
    earlier, later = "2026-01-01T11:59:00+00:00", "2026-01-01T12:01:00+00:00"
    # Each of them left something when it ended, before this process began to start runs again.
    for name, file in (("failed", "train.err"), ("running", "metrics.csv"), ("killed", "lock")):
        leave(runs[name], file, "ValueError: x\n", earlier)
    leave(runs["local"], "train.err", "", later)  # torch is being imported
    leave(runs["stopped"], "train.err", "killed by SIGKILL, by somebody\n", later)
    leave(runs["pending"], "train.err", "ValueError: y\n", later)
    assert {state.run.variant: state.state for state in states_of(in_turn)} == {
        "done": "done",
        "running": "waiting",
        "pending": "failed",
        "failed": "waiting",
        "stopped": "stopped",
        "new": "waiting",
        "killed": "waiting",
        "local": "running",
    }
    status.main(["--sweep", "demo", "--root", in_turn.config.root])
    told = " ".join(capsys.readouterr().out.split())
    assert "new/fold0 waiting 0/3 process 7 on here submits or starts it" in told
    assert "stopped: killed by SIGKILL, by somebody (its process, log" in told
    assert "8 runs: 1 done, 1 running, 4 waiting, 1 failed, 1 stopped; " in told
    assert "process 7 on here submits or starts those that wait" in told


def test_a_run_whose_holder_elsewhere_died_does_not_wait_for_a_launcher_that_left_it_to_that(
    in_turn: Sweep,
) -> None:
    runs = {run.variant: run for run in in_turn.runs}
    holder = locks.Holder("elsewhere", 7, "0", "", "2026-01-01T10:00:00+00:00")
    # The launcher began at noon, and takes a holder elsewhere for dead after five minutes.
    for name, last_sign in (("new", "11:58"), ("killed", "11:50")):
        text = json.dumps(asdict(holder))
        leave(runs[name], "lock", text, f"2026-01-01T{last_sign}:00+00:00")
    found = {state.run.variant: state.state for state in states_of(in_turn)}
    assert (found["new"], found["killed"]) == ("stopped", "waiting")


def test_runs_do_not_wait_for_the_process_that_asks(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sweep.folder / "jobs.csv").unlink()
    with locks.lock(sweep.folder):
        assert states_of(sweep)[5].state == "not submitted"


def test_a_run_that_was_killed_before_its_first_checkpoint_is_not_called_not_submitted(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep.folder / "jobs.csv").unlink()
    run = sweep.runs[5]
    with locks.lock(run.folder):
        left = (run.folder / "lock").read_text()
    (run.folder / "lock").write_text(
        left.replace('"pid": ', '"pid": 99999999')
    )  # of a dead process
    status.main(["--sweep", "demo", "--root", sweep.config.root])
    told = " ".join(capsys.readouterr().out.split())
    assert "new/fold0 stopped: its process ended before its first checkpoint" in told
