"""How runs share a machine: by its cores, what keeps them busy, its memory and its GPUs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launch import machine
from launch.machine import Machine, run_gb, shared, this_machine
from stfmri.study.config import Config
from stfmri.study.config.data import PreprocessingConfig
from stfmri.study.config.sweep import ClusterConfig
from stfmri.study.config.training import TrainConfig

CLUSTER = ClusterConfig()
LAPTOP = Machine(cores=8, busy=0.2, memory_gb=64.0)


@pytest.fixture(autouse=True)
def _no_choice_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("has", "runs", "expected"),
    [
        (LAPTOP, 100, (8, 1)),  # a core each
        (LAPTOP, 3, (3, 2)),  # too few runs for the cores
        (LAPTOP, 1, (1, 8)),
        (Machine(8, 3.2, 64.0), 100, (5, 1)),  # other work keeps its cores
        (Machine(8, 12.0, 64.0), 100, (1, 1)),  # more than it has
        (Machine(8, 0.0, 5.0), 100, (2, 4)),  # memory for two
        (Machine(8, 0.0, 0.5), 100, (1, 8)),  # or not even for one: it has to be tried
        (Machine(16, 0.0, 64.0, ("0", "1")), 100, (2, 8)),  # a GPU each
        (Machine(16, 0.0, 64.0, ("0", "1")), 1, (1, 16)),
    ],
)
def test_free_cores_memory_and_gpus_decide(
    has: Machine, runs: int, expected: tuple[int, int]
) -> None:
    share = shared(has, runs, CLUSTER, memory_gb=2.0)
    assert (share.at_once, share.threads) == expected


def test_cores_are_never_shared_among_more_threads_than_are_free() -> None:
    for cores in (1, 2, 3, 8, 64):
        for runs in (1, 2, 5, 300):
            share = shared(Machine(cores, 1.0, 500.0), runs, CLUSTER)
            assert share.at_once * share.threads <= max(1, cores - 1)


def test_what_the_user_chose_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = shared(LAPTOP, 100, ClusterConfig(local_jobs=3))
    assert (chosen.at_once, chosen.threads) == (3, 2)
    assert (shared(LAPTOP, 100, CLUSTER, threads=4).at_once) == 2
    packed = shared(Machine(8, 0.0, 64.0, ("0",)), 100, ClusterConfig(runs_per_gpu=4))
    assert (packed.at_once, packed.threads) == (4, 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert (shared(LAPTOP, 100, CLUSTER).at_once, shared(LAPTOP, 100, CLUSTER).threads) == (4, 2)


def test_one_line_says_what_was_decided_and_why() -> None:
    assert str(shared(Machine(8, 3.2, 64.0), 100, CLUSTER)) == (
        "5 runs at a time, 1 thread each: 8 cores, 3 of them busy"
    )
    assert str(shared(LAPTOP, 1, CLUSTER)) == "1 run at a time, 8 threads: 1 run to do, 8 cores"
    assert str(shared(Machine(8, 0.0, 5.0), 9, CLUSTER, memory_gb=2.0)) == (
        "2 runs at a time, 4 threads each: 5 GB of memory free, 8 cores"
    )


def test_a_larger_volume_or_batch_takes_more_memory() -> None:
    small = Config(preprocessing=PreprocessingConfig(spacing_mm=4.0))
    large = Config(preprocessing=PreprocessingConfig(spacing_mm=2.0))
    batch = Config(train=TrainConfig(batch_size=8))
    assert run_gb([small]) < run_gb([small, large]) < run_gb([batch])


def test_this_machine_has_no_more_cores_than_the_process_may_use() -> None:
    found = this_machine()
    assert 1 <= found.cores <= len(os.sched_getaffinity(0))
    assert 0 <= found.busy <= found.cores
    assert found.memory_gb > 0


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_has_no_more_memory_than_its_limit(tmp_path: Path, version: int) -> None:
    names = {
        1: ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
        2: ("memory.max", "memory.current", "memory.stat"),
    }[version]
    cached = {1: "total_inactive_file", 2: "inactive_file"}[version]
    texts = (str(3 * 2**20), str(2 * 2**20), f"anon 1\n{cached} {2**19}\n")
    for name, text in zip(names, texts, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    # The limit less what is used, of which the file cache can be given back.
    assert machine.available_gb(tmp_path) == pytest.approx(1.5 / 2**10)
    (tmp_path / names[0]).write_text("max\n")
    assert machine.available_gb(tmp_path) > 0.01
