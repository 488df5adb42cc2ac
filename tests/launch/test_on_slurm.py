"""Sweeps on a real SLURM: array, collector, edits while jobs wait, time-outs, failures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from launch import preprocess, status, submit
from launch.states import job_of, states_of
from slurm.devcluster.cluster import DevCluster
from slurm.logs import log_paths
from slurm.queue import Job, alive
from stfmri.study.jobs import Submission, last_jobs
from stfmri.study.predictions import read as read_predictions
from stfmri.study.shards import read_index
from stfmri.study.sweep_file import load_sweep
from tests.launch.conftest import submission
from tests.slurm.conftest import (
    cluster,
    cluster_folder,
    dev_cluster,
    need_slurm,
    start_now,
    wait_for,
    wait_until_ended,
)

__all__ = ["cluster", "cluster_folder", "dev_cluster"]  # fixtures
pytestmark = [pytest.mark.slurm, pytest.mark.slow]

SHAPE = (40, 48, 36)
GRID = ("preprocessing.spacing_mm=8", "preprocessing.field_mm=[96,104,80]")
CHECKOUT = Path(__file__).resolve().parents[2]
ROOMS = ("launch", "stfmri", "preprocessing", "slurm", "conf")
# A limit under ten minutes makes submitit take every USR2 for a time-out.
SMALL = (
    "cluster.train.time_min=5",
    "cluster.train.cpus=1",
    "cluster.train.mem_gb=1",
    "cluster.train.array_parallelism=2",
    "cluster.train.gres=null",  # nothing can compute on the fake GPUs
)


def write_scan(path: Path, level: float, seed: int) -> None:
    """A stripped ellipsoid brain of 2 mm voxels, brighter on top by `level`."""
    generator = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    brain = sum(axis**2 for axis in axes) < 0.8
    values = 100 + level * axes[2] + 10 * generator.standard_normal(SHAPE)
    image = nib.Nifti1Image(np.where(brain, values, 0).astype(np.float32), np.diag([2, 2, 2, 1]))
    nib.save(image, path)


def jobs_of(root: Path, name: str = "demo") -> dict[str, Submission]:
    return last_jobs(root / "runs" / name)


def wait_for_all(root: Path, name: str = "demo", timeout_s: float = 240) -> None:
    wait_until_ended(*(job_of(line) for line in jobs_of(root, name).values()), timeout_s=timeout_s)


def wait_for_runs(jobs: Mapping[str, Submission]) -> None:
    """Wait until the runs have ended, and end the collector, whose results nobody looks at."""
    wait_until_ended(
        *(job_of(line) for name, line in jobs.items() if name != "collect"), timeout_s=240
    )
    collector = job_of(jobs["collect"])
    subprocess.run(["scancel", str(collector)], check=False, capture_output=True)
    wait_until_ended(collector, timeout_s=60)


def partition(state: str) -> None:
    """Let waiting jobs start, or keep them waiting."""
    subprocess.run(["scontrol", "update", "PartitionName=main", f"State={state}"], check=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the code that a test may spoil."""
    copy = tmp_path / "checkout"
    for room in ROOMS:
        shutil.copytree(CHECKOUT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def test_edits_reach_no_waiting_job_and_the_last_job_writes_the_report(
    cluster: DevCluster, root: Path, checkout: Path
) -> None:
    def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(checkout / "launch" / f"{name}.py"), *arguments],
            env={**os.environ, "PYTHONPATH": str(checkout)},
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )

    partition("DOWN")
    try:
        began = time.monotonic()
        done = script("submit", *submission(root, *SMALL))
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - began < 15  # it returns at once, and so does the next one
        told = " ".join(script("status", "--sweep", "demo").stdout.split())
        assert "2 runs: 2 pending" in told
        assert "nothing to submit" in script("submit", *submission(root, *SMALL)).stdout
        assert set(jobs_of(root)) == {"mc3_18-scratch/fold0", "mc3_18-scratch/fold1", "collect"}
        queue = subprocess.run(["squeue", "--me"], capture_output=True, text=True).stdout
        assert "demo" in queue

        (checkout / "stfmri/learning/training.py").write_text(
            "raise SystemExit('an edit was read')"
        )
        (checkout / "conf/train/paper.yaml").write_text("epochs: 77")
    finally:
        partition("UP")
    wait_for_all(root)
    done = script("status", "--sweep", "demo")
    assert done.returncode == 0, done.stdout
    summary = json.loads((root / "results/demo/summary.json").read_text(encoding="utf-8"))
    assert summary["complete"] is True
    assert (root / "results/demo/report.html").is_file()


def test_jobs_of_a_submission_killed_half_way_are_named_and_not_doubled(
    cluster: DevCluster, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    partition("DOWN")
    try:
        assert submit.main(submission(root, *SMALL)) == 0
        jobs = {line.job_id for line in jobs_of(root).values()}
        # As if the process had been killed between sbatch's answer and the record.
        (root / "runs/demo/jobs.csv").unlink()
        assert submit.main(submission(root, *SMALL)) == 1
        told = capsys.readouterr().err
        assert f"scancel {' '.join(sorted(jobs, key=int))}" in told
        subprocess.run(["scancel", *jobs], check=True)
        wait_for(lambda: not jobs & {job.job_id for job in alive()}, 60)
        assert submit.main(submission(root, *SMALL)) == 0
        subprocess.run(["scancel", *(line.job_id for line in jobs_of(root).values())], check=True)
    finally:
        partition("UP")
    wait_for_all(root)


def test_a_run_that_times_out_goes_on_and_ends_like_one_that_did_not(
    cluster: DevCluster, root: Path
) -> None:
    epochs = ("train.epochs=12", "sweep.folds=[0]")
    assert submit.main(submission(root, *epochs, *SMALL)) == 0
    sweep = load_sweep(root / "runs/demo")
    [run] = sweep.runs
    job = job_of(jobs_of(root)[run.name])
    metrics = run.folder / "metrics.csv"
    wait_for(lambda: metrics.exists() and len(metrics.read_text().splitlines()) > 3, 120)
    subprocess.run(["scancel", "--signal=USR2", str(job)], check=True)
    start_now(job)
    [state] = states_of(sweep)
    assert state.is_alive
    wait_for_runs(jobs_of(root))

    attempts = log_paths(sweep.folder / "logs", job)[0].read_text().split("----- attempt")[1:]
    assert len(attempts) == 2
    assert "from epoch 0 of 12" in attempts[0]
    assert "from epoch 0 of 12" not in attempts[1]
    assert metrics.read_text().count("\n") == 13

    # The same configuration, uninterrupted, on this machine.
    twin = root / "twin" / "fold0"
    twin.mkdir(parents=True)
    shutil.copy(run.config_file, twin)
    command = [sys.executable, "-m", "stfmri.train", "--config", str(twin / "config.yaml")]
    subprocess.run(command, check=True)
    interrupted, straight = (
        read_predictions(folder / "predictions.csv").rows for folder in (run.folder, twin)
    )
    assert interrupted == straight


def test_runs_that_share_a_job_time_out_and_go_on_together(cluster: DevCluster, root: Path) -> None:
    packed = ("train.epochs=8", "cluster.runs_per_gpu=2")
    assert submit.main(submission(root, *packed, *SMALL)) == 0
    sweep = load_sweep(root / "runs/demo")
    [job] = {job_of(jobs_of(root)[run.name]) for run in sweep.runs}
    published = [run.folder / "checkpoint" for run in sweep.runs]
    wait_for(lambda: all(any(folder.glob("epoch-*")) for folder in published), 120)
    subprocess.run(["scancel", "--signal=USR2", str(job)], check=True)
    start_now(job)
    wait_for_runs(jobs_of(root))
    for run in sweep.runs:
        assert run.is_done(), (run.folder / "train.err").read_text()
        starts = (run.folder / "train.out").read_text().split("from epoch ")[1:]
        assert len(starts) == 2
        assert starts[0].startswith("0 of 8")
        assert not starts[1].startswith("0 of 8")


def test_a_job_that_got_a_gpu_on_which_nothing_computes_fails_at_once_and_status_says_why(
    cluster: DevCluster, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = ("cluster.runs_per_gpu=2", "cluster.train.gres=gpu:1", "sweep.models=[mc3_18,sfcn]")
    assert submit.main(submission(root, *SMALL[:-1], *packed)) == 0
    jobs = jobs_of(root)
    assert len({line.array_index for name, line in jobs.items() if name != "collect"}) == 2
    wait_for_runs(jobs)
    capsys.readouterr()
    assert status.main(["--sweep", "demo", "--root", str(root)]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "4 runs: 4 failed" in told
    assert told.count("a GPU was asked for (cluster.train.gres=gpu:1) and none is seen on") == 4
    assert "CUDA_VISIBLE_DEVICES=0" in told
    for run in load_sweep(root / "runs/demo").runs:
        assert not (run.folder / "metrics.csv").exists()


@pytest.fixture
def without_accounting(
    cluster_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DevCluster]:
    need_slurm()
    with DevCluster(cluster_folder, nodes=1, accounting=False) as started:
        for name, value in started.environment().items():
            monkeypatch.setenv(name, value)
        yield started


def test_without_accounting_a_failed_run_is_named_collected_around_and_submitted_again(
    without_accounting: DevCluster, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axis = "sweep.axes={train.learning_rate:[1e-3,1e30]}"
    assert submit.main(submission(root, axis, "sweep.folds=[0]", *SMALL)) == 0
    first = jobs_of(root)
    wait_for_all(root)
    capsys.readouterr()
    assert status.main(["--sweep", "demo", "--root", str(root)]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "2 runs: 1 done, 1 failed" in told
    assert "mc3_18-scratch-1e+30/fold0 failed: stfmri.study.errors.DivergedError:" in told
    summary = json.loads((root / "results/demo/summary.json").read_text(encoding="utf-8"))
    assert summary["missing"] == ["mc3_18-scratch-1e+30/fold0"]

    assert submit.main(["--sweep", "demo", "--root", str(root)]) == 0
    again = jobs_of(root)
    changed = {run for run in again if again[run].job_id != first[run].job_id}
    assert changed == {"mc3_18-scratch-1e+30/fold0", "collect"}
    subprocess.run(["scancel", *(line.job_id for line in again.values())], check=True)
    wait_for_all(root)


def test_volumes_are_built_by_an_array_and_indexed_by_the_last_job(
    cluster: DevCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(preprocess, "SCANS_A_PART", 1)
    rows = ["subject_id,path,label"]
    for number in range(2):
        write_scan(tmp_path / f"s{number}.nii.gz", 50, number)
        rows.append(f"s{number},s{number}.nii.gz,{number}")
    (tmp_path / "torn.nii.gz").write_bytes(b"no scan")
    rows.append("torn,torn.nii.gz,1")
    (tmp_path / "cohort.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    data = (f"data.table={tmp_path / 'cohort.csv'}", "data.stripped=true", "data.name=made", *GRID)
    small = ("cluster.preprocess.cpus=1", "cluster.preprocess.mem_gb=1")
    before = set(alive())
    assert preprocess.main(["--root", str(tmp_path), *data, *small]) == 0
    submitted = set(alive()) - before
    [cache] = tmp_path.glob("data/cache/made-8mm-*")
    assert preprocess.main(["--root", str(tmp_path), *data, *small]) == 1
    assert f"{cache} is being built already, by job " in capsys.readouterr().err
    assert set(alive()) - before <= submitted
    assert len({job for job in submitted if job.array_index is not None}) >= 3
    wait_until_ended(*submitted, timeout_s=240)
    assert [row.subject_id for row in read_index(cache)] == ["s0", "s1"]
    assert "torn" in (cache / "rejected.csv").read_text(encoding="utf-8")


def test_a_job_is_told_as_squeue_prints_it() -> None:
    assert str(job_of(Submission("a/fold0", "12", 3, ""))) == str(Job("12", 3)) == "12_3"
