"""A sweep that chooses in each fold, on a real SLURM: one array, cancelled and submitted again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from launch import submit
from launch.states import job_of
from slurm.devcluster.cluster import DevCluster
from stfmri.study import selection
from stfmri.study.jobs import last_jobs
from stfmri.study.sweep_file import load_sweep
from tests.launch.conftest import submission
from tests.launch.test_on_slurm import SMALL, jobs_of, wait_for_all
from tests.slurm.conftest import cluster, cluster_folder, dev_cluster, wait_for, wait_until_ended
from tests.tiny import tiny_cache, tiny_config

__all__ = ["cluster", "cluster_folder", "dev_cluster"]  # fixtures
pytestmark = [pytest.mark.slurm, pytest.mark.slow]

SELECT = "sweep.select={train.learning_rate:[1e-4,3e-4,1e-3]}"


def test_candidates_and_their_run_share_an_array_and_go_on_after_scancel(
    cluster: DevCluster, tmp_path: Path
) -> None:
    tiny_cache(tiny_config(tmp_path), per_class=6)
    arguments = submission(
        tmp_path, SELECT, "sweep.folds=[0]", "train.batch_size=4", "train.epochs=3", *SMALL
    )
    assert submit.main(arguments) == 0
    sweep = load_sweep(tmp_path / "runs/demo")
    [run] = sweep.runs
    inner = sweep.inner_runs(run)
    first = jobs_of(tmp_path)
    # The last candidate is the run's own task's.
    assert set(first) == {inner[0].name, inner[1].name, run.name, "collect"}
    array = [job_of(first[one.name]) for one in (*inner[:2], run)]
    assert len({job.job_id for job in array}) == 1
    assert [job.array_index for job in array] == [0, 1, 2]

    metrics = inner[0].folder / "metrics.csv"
    wait_for(metrics.exists, 240)
    subprocess.run(["scancel", *{line.job_id for line in first.values()}], check=True)
    wait_until_ended(*map(job_of, first.values()), timeout_s=120)
    assert not run.is_done()

    assert submit.main(arguments) == 0
    assert {job_of(line) for line in last_jobs(sweep.folder).values()}.isdisjoint({array[2]})
    wait_for_all(tmp_path, timeout_s=400)
    assert run.is_done()
    assert all(one.is_done() for one in inner)
    assert selection.read(run.folder) is not None
    summary = json.loads((tmp_path / "results/demo/summary.json").read_text(encoding="utf-8"))
    assert summary["complete"] is True
    assert list(summary["select"]) == [run.name]
