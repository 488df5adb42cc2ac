"""How many runs this machine trains at a time, and with how many threads each."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from slurm.gpus import local_gpus
from stfmri.study.config import Config
from stfmri.study.config.sweep import ClusterConfig
from stfmri.study.words import plural

SAMPLE_S = 0.5  # long enough for the kernel's ticks of 10 ms to tell a busy core from an idle one
# What a run takes on a CPU: Python, torch and the network with its optimiser (r3d_18 came to
# 1.56 GB with four volumes of 20×24×20 voxels), and its activations by the voxels of a step, twice
# what mc3_18 took in fp32, since other networks keep more.
RUN_GB = 1.5
GB_A_MILLION_VOXELS = 3.0
CGROUP = Path("/sys/fs/cgroup")
# The limit on memory, what is used of it, and what of that could be given back: cgroup v2 and v1.
MEMORY_FILES = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)


@dataclass(frozen=True)
class Machine:
    """What this machine has to offer at the moment.

    Attributes:
        cores: that this process may use: its affinity, and the quota of its container.
        busy: how many of them other work keeps busy.
        memory_gb: that could be had without swapping, in GB (2**30 bytes).
        gpus: as CUDA_VISIBLE_DEVICES names them.
    """

    cores: int
    busy: float
    memory_gb: float
    gpus: tuple[str, ...] = ()

    @property
    def free(self) -> int:
        """Cores to use, at least one."""
        return max(1, self.cores - round(self.busy))

    @property
    def without_gpus(self) -> Machine:
        """The same machine for work that needs none."""
        return replace(self, gpus=())


@dataclass(frozen=True)
class Share:
    """How runs share the machine.

    Attributes:
        at_once: runs at a time.
        threads: of each.
        why: what decided it, for the user.
    """

    at_once: int
    threads: int
    why: str

    def __str__(self) -> str:
        each = " each" if self.at_once > 1 else ""
        runs, threads = plural(self.at_once, "run"), plural(self.threads, "thread")
        return f"{runs} at a time, {threads}{each}: {self.why}"


def this_machine() -> Machine:
    """Look at this machine; takes half a second."""
    from joblib import cpu_count  # takes a third of a second to import

    cores = min(len(os.sched_getaffinity(0)), cpu_count())
    return Machine(cores, _busy(), available_gb(CGROUP), tuple(local_gpus()))


def shared(
    machine: Machine, runs: int, cluster: ClusterConfig, threads: int = 0, memory_gb: float = RUN_GB
) -> Share:
    """Decide how `runs` share the machine.

    On a CPU every free core gets a run with one thread. Two such runs finish sooner than one after
    the other with two threads, most of all on a busy machine, where a thread waits for the other
    whenever that one has lost its core. Only runs that are fewer than the cores get more threads.

    Args:
        runs: to be trained, at least 1.
        cluster: `local_jobs`, where not 0, is the number at a time.
        threads: of a run, where the user chose it; 0 for no choice.
        memory_gb: that a run takes, in GB.
    """
    threads = threads or _threads_of_environment()
    limits = {
        f"{plural(runs, 'run')} to do": runs,
        _cores_text(machine): max(1, machine.free // (threads or 1)),
        f"{machine.memory_gb:.0f} GB of memory free": max(1, int(machine.memory_gb / memory_gb)),
    }
    if machine.gpus:
        each = cluster.runs_per_gpu
        text = plural(len(machine.gpus), "GPU") + (f" with {each} runs" if each > 1 else "")
        limits = {f"{plural(runs, 'run')} to do": runs, text: len(machine.gpus) * each}
    if cluster.local_jobs:
        limits = {f"cluster.local_jobs={cluster.local_jobs}": cluster.local_jobs}
    at_once = min(limits.values())
    why = next(text for text, limit in limits.items() if limit == at_once)
    share = threads or max(1, machine.free // at_once)
    cores = "" if why == _cores_text(machine) else f", {_cores_text(machine)}"
    return Share(at_once, share, f"{why}{cores}")


def run_gb(configs: Sequence[Config]) -> float:
    """What the largest of some runs takes of this machine's memory, in GB; an estimate."""
    voxels = max(
        config.train.batch_size * len(config.data.channels) * math.prod(config.preprocessing.shape)
        for config in configs
    )
    return RUN_GB + GB_A_MILLION_VOXELS * voxels / 1e6


def _cores_text(machine: Machine) -> str:
    busy = machine.cores - machine.free
    return plural(machine.cores, "core") + (f", {busy} of them busy" if busy else "")


def _threads_of_environment() -> int:
    """OMP_NUM_THREADS; 0 where it is not set, or is no number."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(first) if first.isdecimal() else 0


def _busy() -> float:
    """How many of this process's cores are busy, now and over the last minute.

    The lesser of the two: neither a command that has just ended nor one of a moment counts.
    """
    used = psutil.cpu_percent(interval=SAMPLE_S, percpu=True)
    now = sum(used[core] for core in os.sched_getaffinity(0) if core < len(used)) / 100
    return float(min(now, os.getloadavg()[0]))


def available_gb(cgroup: Path) -> float:
    """Memory that could be had: of the machine, and of the container where it has a limit."""
    available = int(psutil.virtual_memory().available)
    for limit, used, statistics, returnable in MEMORY_FILES:
        try:
            most = int((cgroup / limit).read_text())
            taken = int((cgroup / used).read_text())
            lines = (cgroup / statistics).read_text().splitlines()
        except (OSError, ValueError):  # no such hierarchy, or no limit: "max"
            continue
        values = dict(line.split() for line in lines)
        available = min(available, most - taken + int(values.get(returnable, 0)))
    return max(0, available) / 2**30
