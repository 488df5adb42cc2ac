"""Submissions on a real SLURM."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from pathlib import Path

import pytest

from slurm.devcluster.cluster import DevCluster
from slurm.executor import Resources, SubmissionError, submit_array
from slurm.logs import last_error_line, log_paths
from slurm.queue import Job, alive, max_array_size
from tests.slurm import calls
from tests.slurm.conftest import (
    MAX_ARRAY_SIZE,
    frozen_code,
    lines_of,
    start_now,
    wait_for,
    wait_until_ended,
)

pytestmark = pytest.mark.slurm
QUICK = Resources(time_min=5)
# SLURM looks every 30 s, and signals when the limit is at most that much further than asked:
# between 20 and 50 s after the start
ONE_MINUTE = Resources(time_min=1, signal_delay_s=10)


@pytest.fixture(scope="module")
def at_the_limit(
    dev_cluster: DevCluster, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Job, Job]:
    """Two jobs that outlast a real limit of one minute, one of which can resume.

    They start with the first test of this module, so that the last need not wait a minute.
    """
    folder = tmp_path_factory.mktemp("limit")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in dev_cluster.environment().items():
            patch.setenv(name, value)
        jobs = [
            submit_array(
                [call], ONE_MINUTE, folder=folder, name="limit", workdir=frozen_code(part)
            )[0]
            for call, part in (
                (calls.Resume(folder / "resumed", attempts=2), folder / "a"),
                (calls.Sleep(folder / "slept"), folder / "b"),
            )
        ]
    return folder, jobs[0], jobs[1]


@pytest.fixture(autouse=True)
def _early(at_the_limit: tuple[Path, Job, Job], cluster: DevCluster) -> None:
    """Every test runs on the cluster, while the jobs at the limit run beside it."""


def test_a_collector_runs_after_the_whole_array_though_a_task_failed(
    tmp_path: Path, workdir: Path
) -> None:
    logs, out = tmp_path / "logs ü", tmp_path / "out"
    out.mkdir()
    tasks = [calls.Report(out / f"task{i}.json", fail=i == 2) for i in range(4)]
    resources = Resources(time_min=5, gres="gpu:1", cpus=2, mem_gb=0.5)
    jobs = submit_array(tasks, resources, folder=logs, name="train", workdir=workdir)
    count = calls.Count(out, "task*.json", out / "count")
    [collector] = submit_array(
        [count], QUICK, folder=logs, name="collect", workdir=workdir, depends_on=jobs
    )
    assert [job.array_index for job in jobs] == [0, 1, 2, 3]
    assert len({job.job_id for job in jobs}) == 1
    assert collector.array_index is None
    wait_until_ended(*jobs, collector)

    assert (out / "count").read_text() == "4"
    seen = [json.loads((out / f"task{i}.json").read_text()) for i in range(4)]
    assert {one["cwd"] for one in seen} == {str(workdir)}
    assert all(one["code"].startswith(str(workdir)) for one in seen)
    assert {one["SLURM_CPUS_PER_TASK"] for one in seen} == {"2"}
    assert {one["CUDA_VISIBLE_DEVICES"] for one in seen} <= {"0", "1"}
    assert last_error_line(logs, jobs[2]) == "ValueError: asked to fail at task2.json"
    assert last_error_line(logs, jobs[1]) is None
    assert stat.S_IMODE(logs.stat().st_mode) == 0o700


def test_two_gpus_of_a_node_go_to_two_tasks(tmp_path: Path, workdir: Path) -> None:
    tasks = [calls.Report(tmp_path / f"{i}.json") for i in range(2)]
    both = Resources(time_min=5, gres="gpu:2")
    jobs = submit_array(tasks, both, folder=tmp_path / "logs", name="gpus", workdir=workdir)
    wait_until_ended(*jobs)
    seen = [json.loads((tmp_path / f"{i}.json").read_text()) for i in range(2)]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in seen] == ["0,1", "0,1"]


def test_a_run_that_times_out_four_times_is_requeued_four_times_and_finishes(
    tmp_path: Path, workdir: Path
) -> None:
    marks, logs = tmp_path / "marks", tmp_path / "logs"
    call = calls.Resume(marks, attempts=5)
    [job] = submit_array([call], QUICK, folder=logs, name="resume", workdir=workdir)
    [collector] = submit_array(
        [calls.Count(tmp_path, "marks", tmp_path / "count")],
        QUICK,
        folder=logs,
        name="collect",
        workdir=workdir,
        depends_on=[job],
    )
    for attempt in range(1, 5):
        wait_for(lambda number=attempt: lines_of(marks).count("attempt") == number)
        # With limits under ten minutes submitit takes every such signal for a time-out
        subprocess.run(["scancel", "--signal=USR2", str(job)], check=True)
        start_now(job)
        assert alive()[collector].reason == "Dependency"
    wait_until_ended(job, collector)
    assert lines_of(marks) == ["attempt", "checkpoint"] * 4 + ["attempt", "finished"]
    out, err = (path.read_text() for path in log_paths(logs, job))
    # Once each: the forked worker got the signals too, and must not requeue a second time
    assert out.count("Requeued job") == 4
    marked = [line.split()[2] for line in err.splitlines() if line.startswith("----- attempt")]
    assert marked == ["1", "2", "3", "4", "5"]
    assert last_error_line(logs, job) is None


def test_a_signal_that_comes_while_python_still_imports_is_not_lost(
    tmp_path: Path, workdir: Path
) -> None:
    marks, logs = tmp_path / "marks", tmp_path / "logs"
    call = calls.SlowToLoad(marks, attempts=2)
    [job] = submit_array([call], QUICK, folder=logs, name="early", workdir=workdir)
    wait_for(lambda: lines_of(marks) == ["loading"])
    subprocess.run(["scancel", "--signal=USR2", str(job)], check=True)
    start_now(job)
    wait_until_ended(job)
    assert lines_of(marks) == ["loading", "checkpoint", "loading", "finished"]


def test_scancel_ends_a_running_task_within_seconds(tmp_path: Path, workdir: Path) -> None:
    marks, logs = tmp_path / "marks", tmp_path / "logs"
    [job] = submit_array([calls.Sleep(marks)], QUICK, folder=logs, name="x", workdir=workdir)
    wait_for(lambda: lines_of(marks) == ["begin"])
    began = time.monotonic()
    subprocess.run(["scancel", str(job)], check=True)
    wait_until_ended(job)
    # The cluster would kill it after KillWait, 5 s, without its `finally`
    assert time.monotonic() - began < 4
    assert lines_of(marks) == ["begin", "end"]
    assert "CANCELLED AT" in (last_error_line(logs, job) or "")


def test_alive_tells_each_waiting_and_running_task(tmp_path: Path, workdir: Path) -> None:
    marks, logs = tmp_path / "marks", tmp_path / "logs"
    one_at_a_time = Resources(time_min=2, array_parallelism=1)
    jobs = submit_array(
        [calls.Sleep(marks), calls.Sleep(marks), calls.Sleep(marks)],
        one_at_a_time,
        folder=logs,
        name="alive",
        workdir=workdir,
    )
    [late] = submit_array(
        [calls.Sleep(marks)], QUICK, folder=logs, name="late", workdir=workdir, depends_on=jobs
    )
    wait_for(lambda: lines_of(marks) == ["begin"])
    states = alive()
    assert states[jobs[0]].state == "RUNNING"
    assert 60 < (states[jobs[0]].left_s or 0) <= 120
    assert states[jobs[0]].start is not None
    assert {states[job].state for job in jobs[1:]} == {"PENDING"}
    assert states[jobs[2]].reason == "JobArrayTaskLimit"
    assert (states[late].state, states[late].reason) == ("PENDING", "Dependency")
    subprocess.run(["scancel", jobs[0].job_id, late.job_id], check=True)
    wait_until_ended(*jobs, late)


def test_more_tasks_than_the_cluster_allows_become_several_arrays(
    tmp_path: Path, workdir: Path
) -> None:
    assert max_array_size() == MAX_ARRAY_SIZE
    files = [tmp_path / f"{i}.json" for i in range(2 * MAX_ARRAY_SIZE + 1)]
    jobs = submit_array(
        [calls.Report(file) for file in files],
        Resources(time_min=5, array_parallelism=7),
        folder=tmp_path / "logs",
        name="many",
        workdir=workdir,
    )
    scripts = sorted((tmp_path / "logs").glob("*_submission.sh"))
    bounds = [line for s in scripts for line in s.read_text().splitlines() if "--array" in line]
    assert bounds == ["#SBATCH --array=0-4%2"] * 2  # together 4, with the single job 5
    assert [job.array_index for job in jobs] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, None]
    assert len({job.job_id for job in jobs}) == 3
    wait_until_ended(*jobs)
    assert all(file.exists() for file in files)


def test_a_job_submitted_from_inside_a_job_inherits_nothing_of_it(
    tmp_path: Path, workdir: Path
) -> None:
    inner = tmp_path / "inner.json"
    outer = Resources(time_min=5, gres="gpu:1", cpus=3)
    jobs = submit_array(
        [calls.SubmitAnother(tmp_path / "logs", inner), calls.Report(tmp_path / "second.json")],
        outer,
        folder=tmp_path / "logs",
        name="outer",
        workdir=workdir,
    )
    wait_until_ended(*jobs)
    wait_for(inner.exists)
    wait_for(inner.read_text)
    seen = json.loads(inner.read_text())
    assert seen["CUDA_VISIBLE_DEVICES"] is None
    assert seen["SLURM_CPUS_PER_TASK"] is None
    assert seen["SLURM_JOB_ID"] not in {job.job_id for job in jobs}
    assert last_error_line(tmp_path / "logs", jobs[0]) is None


def test_a_refused_submission_says_why_in_one_line_and_leaves_no_files(
    tmp_path: Path, workdir: Path
) -> None:
    nowhere = Resources(time_min=5, partition="nowhere")
    with pytest.raises(SubmissionError, match="invalid partition specified: nowhere") as refused:
        submit_array(
            [calls.Report(tmp_path / "x")] * 2,
            nowhere,
            folder=tmp_path / "logs",
            name="no",
            workdir=workdir,
        )
    assert "\n" not in str(refused.value)
    assert refused.value.submitted == ()
    assert list((tmp_path / "logs").iterdir()) == []


def test_a_dependency_that_the_cluster_has_forgotten_is_as_good_as_done(
    tmp_path: Path, workdir: Path
) -> None:
    report = calls.Report(tmp_path / "report.json")
    [job] = submit_array(
        [report],
        QUICK,
        folder=tmp_path / "logs",
        name="late",
        workdir=workdir,
        depends_on=[Job("999999", 0)],
    )
    wait_until_ended(job)
    assert report.path.exists()


def test_a_preempted_run_is_requeued_by_the_cluster_and_finishes(
    tmp_path: Path, workdir: Path
) -> None:
    marks, logs = tmp_path / "marks", tmp_path / "logs"
    # More than half of a node's 8 CPUs, beside the jobs at the limit
    most_of_a_node = {"time_min": 5, "cpus": 5}
    [low] = submit_array(
        [calls.Resume(marks, attempts=2)],
        Resources(partition="low", **most_of_a_node),
        folder=logs,
        name="low",
        workdir=workdir,
    )
    wait_for(lambda: lines_of(marks) == ["attempt"])
    high = submit_array(
        [calls.Sleep(tmp_path / f"high{i}", 1) for i in range(2)],
        Resources(**most_of_a_node),
        folder=logs,
        name="high",
        workdir=workdir,
    )
    wait_until_ended(*high)
    start_now(low)
    wait_until_ended(low)
    # The signal may come too, depending on which of the cluster's two messages is faster
    assert [mark for mark in lines_of(marks) if mark != "checkpoint"] == [
        "attempt",
        "attempt",
        "finished",
    ]


def test_the_jobs_environment_comes_back_after_a_submission(
    tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    before = dict(os.environ)
    report = calls.Report(tmp_path / "report.json")
    [job] = submit_array([report], QUICK, folder=tmp_path, name="env", workdir=workdir)
    assert dict(os.environ) == before
    wait_until_ended(job)
    assert json.loads(report.path.read_text())["CUDA_VISIBLE_DEVICES"] is None


@pytest.mark.slow
def test_a_run_at_its_real_time_limit_is_requeued_and_finishes_in_its_second_attempt(
    at_the_limit: tuple[Path, Job, Job],
) -> None:
    folder, resuming, _ = at_the_limit
    wait_for(lambda: "checkpoint" in lines_of(folder / "resumed"), timeout_s=100)
    start_now(resuming)
    wait_until_ended(resuming)
    assert lines_of(folder / "resumed") == ["attempt", "checkpoint", "attempt", "finished"]


@pytest.mark.slow
def test_a_call_without_checkpoint_ends_at_its_real_time_limit_and_says_so(
    at_the_limit: tuple[Path, Job, Job],
) -> None:
    folder, _, plain = at_the_limit
    wait_until_ended(plain, timeout_s=100)
    assert lines_of(folder / "slept") == ["begin", "end"]
    assert "timed-out and not checkpointable" in (last_error_line(folder, plain) or "")
