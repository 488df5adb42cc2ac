"""Runs that share GPUs: what their job asks for, who gets which GPU, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from launch import cluster, status, submit
from launch.job import JobError, TrainRuns
from launch.outlook import outlook
from launch.packing import asks_for_gpu, for_packs, packs_of, refusal, side_by_side
from launch.states import DONE, ERROR_LOG, NEW, STOPPED, RunState
from slurm.executor import Resources
from slurm.queue import Job
from stfmri.study.compose import compose
from stfmri.study.config.sweep import GPU_ASKED, ClusterConfig, StageResources
from stfmri.study.files import private_dir
from stfmri.study.runs import Run, Sweep
from stfmri.study.sweep_file import load_sweep
from tests.launch.conftest import submission
from tests.nvidia import fake_nvidia_smi

GPU = StageResources(cpus=4, mem_gb=16, gres="gpu:1")


@pytest.fixture(autouse=True)
def _no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("launch.cluster.has_slurm", lambda: False)
    monkeypatch.setattr("launch.states.has_slurm", lambda: False)
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "mps"))


def runs_of(count: int, folder: Path = Path()) -> list[Run]:
    return [Run("a", "mc3_18", "scratch", fold, folder / f"a/fold{fold}") for fold in range(count)]


@pytest.mark.parametrize(
    ("gres", "runs_per_gpu", "sizes"),
    [
        ("gpu:1", 1, [1] * 7),
        ("gpu:1", 3, [3, 3, 1]),
        ("gpu:a100:2", 3, [6, 1]),  # a node with two GPUs takes as many on each
        (None, 2, [2, 2, 2, 1]),
    ],
)
def test_a_job_trains_so_many_runs_on_each_of_its_gpus(
    gres: str | None, runs_per_gpu: int, sizes: list[int]
) -> None:
    asked = ClusterConfig(runs_per_gpu=runs_per_gpu, train=replace(GPU, gres=gres))
    packs = packs_of(runs_of(7), asked)
    assert [len(pack) for pack in packs] == sizes
    assert [run for pack in packs for run in pack] == runs_of(7)


def test_cpus_and_memory_grow_with_the_runs_of_a_job_and_nothing_else_does() -> None:
    packs = [runs_of(6), runs_of(1)]
    assert for_packs(GPU, packs) == replace(GPU, cpus=24, mem_gb=96)
    # No more than the runs that there are: one that is submitted again has its job to itself.
    assert for_packs(GPU, [runs_of(1)]) == GPU
    assert for_packs(replace(GPU, mem_gb=None), packs).mem_gb is None


def test_what_is_submitted_is_packed_scaled_and_says_that_a_gpu_was_asked_for(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays: list[tuple[list[TrainRuns], Resources]] = []

    def submit_array(calls: list[TrainRuns], asked: Resources, **rest: object) -> list[Job]:
        arrays.append((list(calls), asked))
        return [Job(str(len(arrays)), index) for index, _ in enumerate(calls)]

    monkeypatch.setattr(cluster, "submit_array", submit_array)
    monkeypatch.setattr(submit, "check_queue", lambda sweep, states: None)
    typed = ("cluster=slurm", "cluster.runs_per_gpu=2", "sweep.folds=[0,1]")
    assert submit.main(submission(root, *typed)) == 0
    ([call], asked), *_ = arrays
    assert [Path(config).parent.name for config in call.configs] == ["fold0", "fold1"]
    assert (asked.cpus, asked.mem_gb, asked.gres) == (8, 32, "gpu:1")
    assert call.asked == "cluster.train.gres=gpu:1"
    assert asks_for_gpu(ClusterConfig(train=replace(GPU, gres=None))) == ""


SPY = """
import json, os, pathlib, sys
config, share = sys.argv[2], sys.argv[4]
names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK", {asked!r})
seen = [share, *(os.environ.get(name) for name in names)]
pathlib.Path(config).with_name("seen.json").write_text(json.dumps(seen))
"""


@pytest.fixture
def spied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Configurations of runs that, instead of training, write down how they were started."""
    spy = tmp_path / "spy"
    (spy / "stfmri").mkdir(parents=True)
    (spy / "stfmri" / "__init__.py").touch()
    (spy / "stfmri" / "train.py").write_text(SPY.format(asked=GPU_ASKED), encoding="utf-8")
    monkeypatch.chdir(spy)
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setenv(GPU_ASKED, "")

    def configs(count: int) -> list[str]:
        return [str(private_dir(run.folder) / "config.yaml") for run in runs_of(count, tmp_path)]

    return configs


def seen_by(configs: list[str]) -> list[list[str]]:
    return [json.loads(Path(config).with_name("seen.json").read_text()) for config in configs]


def test_runs_of_a_job_take_its_gpus_in_turn_and_share_its_cores(
    spied: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "9")
    configs = spied(3)
    TrainRuns(configs, asked="cluster.train.gres=gpu:2")()
    rest = ["3", "3", "cluster.train.gres=gpu:2"]
    assert seen_by(configs) == [["2", gpu, *rest] for gpu in ("4", "7", "4")]


def test_a_job_without_a_gpu_of_its_own_hands_none_out(
    spied: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_nvidia_smi(monkeypatch, tmp_path, ["Exclusive_Process"])  # its node has one, for others
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    configs = spied(2)
    TrainRuns(configs)()
    assert [seen[:2] for seen in seen_by(configs)] == [["2", None]] * 2


def test_a_job_that_packs_runs_on_an_exclusive_gpu_fails_at_once_and_each_run_says_why(
    spied: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_nvidia_smi(monkeypatch, tmp_path, ["Exclusive_Process"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    configs = spied(2)
    with pytest.raises(JobError, match=r"2 runs would share a GPU.*Exclusive_Process"):
        TrainRuns(configs)()
    for config in configs:
        [line] = Path(config).with_name(ERROR_LOG).read_text().splitlines()
        assert "use cluster.runs_per_gpu=1" in line
        assert not Path(config).with_name("seen.json").exists()


def test_sharing_is_refused_where_a_gpu_takes_one_process_and_more_would_share_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_nvidia_smi(monkeypatch, tmp_path, ["Exclusive_Process", "Default"])
    assert refusal(["0", "1"], 2) == ""
    assert "GPU 0 (NVIDIA A100" in refusal(["0", "1"], 3)
    assert refusal(["1"], 3) == ""
    assert refusal([], 3) == ""
    (tmp_path / "mps").mkdir()
    (tmp_path / "mps" / "control").touch()
    assert refusal(["0", "1"], 3) == ""


def test_on_this_machine_exclusive_mode_is_refused_before_anything_is_written(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_nvidia_smi(monkeypatch, tmp_path, ["Exclusive_Process"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(submit, "train_on_this_machine", lambda *rest: None)
    packed = submission(root, "cluster=local", "cluster.runs_per_gpu=2")
    assert submit.main(packed) == 2
    assert "2 runs would share a GPU" in capsys.readouterr().err
    assert not (root / "runs").exists()
    assert submit.main([*packed, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "before submitting: 2 runs would share a GPU" in told
    assert "2 networks on 1 GPU × 2 side by side of this machine: 2 at a time" in told
    assert submit.main([*submission(root, "cluster=local"), "--dry-run"]) == 0
    assert "would share" not in capsys.readouterr().out


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(compose([], sweep="demo", root=tmp_path), runs_of(18, tmp_path), "demo")


def trained(run: Run, epochs: int, seconds: float) -> None:
    rows = [f"{epoch},10,0.5,{seconds}" for epoch in range(1, epochs + 1)]
    path = private_dir(run.folder) / "metrics.csv"
    path.write_text("\n".join(["epoch,epochs,train_loss,seconds", *rows]) + "\n")


def test_the_plan_of_whole_nodes_is_runs_by_gpus_by_packs_and_hours_from_the_first_epochs(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = [RunState(run, NEW) for run in sweep.runs]
    train = replace(GPU, gres="gpu:2")
    asked = ClusterConfig(runs_per_gpu=3, train=train)
    line = "18 networks in 3 jobs: each 2 GPUs × 3 side by side, 24 CPUs, 96 GB"
    later = "how long the networks take will be shown after the first epoch"
    assert outlook(sweep, asked, states, {}, on_slurm=True) == [line, later]
    # The first run has had two of its ten epochs of six minutes: its job has the longest to go.
    trained(sweep.runs[0], 2, 360.0)
    states[0] = RunState(sweep.runs[0], STOPPED)
    assert outlook(sweep, asked, states, {}, on_slurm=True)[1] == (
        "at the pace of the epochs so far: about 1 h 00 min with 3 jobs at a time"
    )
    two = replace(asked, train=replace(train, array_parallelism=2))
    assert outlook(sweep, two, states, {}, on_slurm=True) == [
        f"{line}; at most 2 jobs at a time",
        "at the pace of the epochs so far: about 2 h 00 min with 2 jobs at a time",
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert outlook(sweep, asked, states, {}, on_slurm=False) == [
        "18 networks on 4 GPUs × 3 side by side of this machine: 12 at a time",
        "at the pace of the epochs so far: about 2 h 00 min with 12 runs at a time",
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert outlook(sweep, replace(asked, local_jobs=6), states, {}, on_slurm=False) == [
        "at the pace of the epochs so far: about 3 h 00 min with 6 runs at a time",
    ]
    done = [RunState(run, DONE) for run in sweep.runs]
    assert outlook(sweep, asked, done, {}, on_slurm=True) == []


def test_as_many_share_a_gpu_as_the_fullest_has() -> None:
    assert [side_by_side(runs, 4) for runs in (1, 4, 5, 12)] == [1, 1, 2, 3]
    assert side_by_side(3, 0) == 3


def test_status_tells_why_a_run_without_its_gpu_failed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(submit, "train_on_this_machine", lambda *rest: None)
    submit.main(submission(root, "cluster=local", "sweep.folds=[0]"))
    [run] = load_sweep(root / "runs/demo").runs
    monkeypatch.setenv(GPU_ASKED, "")
    with pytest.raises(Exception, match="a GPU was asked for"):
        TrainRuns([str(run.config_file)], asked="cluster.train.gres=gpu:1")()
    capsys.readouterr()
    assert status.main(["--sweep", "demo", "--root", str(root)]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "1 failed" in told
    assert "a GPU was asked for (cluster.train.gres=gpu:1) and none is seen on" in told
