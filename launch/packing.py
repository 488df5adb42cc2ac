"""How runs share GPUs: some side by side on each, and as many GPUs to a job as it asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from slurm.gpus import for_one_process, gpus_in
from stfmri.study.config.sweep import ClusterConfig, StageResources
from stfmri.study.runs import Run
from stfmri.study.words import listed, plural


def packs_of(networks: Sequence[Run], cluster: ClusterConfig) -> list[Sequence[Run]]:
    """The networks that each SLURM job trains: `runs_per_gpu` on each of its GPUs."""
    size = max(1, gpus_in(cluster.train.gres)) * cluster.runs_per_gpu
    return [networks[first : first + size] for first in range(0, len(networks), size)]


def for_packs(stage: StageResources, packs: Sequence[Sequence[Run]]) -> StageResources:
    """What each job of an array asks for, whose `cpus` and `mem_gb` are those of one run."""
    runs = max(map(len, packs), default=1)
    memory = None if stage.mem_gb is None else stage.mem_gb * runs
    return replace(stage, cpus=stage.cpus * runs, mem_gb=memory)


def asks_for_gpu(cluster: ClusterConfig) -> str:
    """The setting by which jobs ask for a GPU, in words; "" where they ask for none."""
    gres = cluster.train.gres
    return f"cluster.train.gres={gres}" if gpus_in(gres) else ""


def at_once(cluster: ClusterConfig, runs: int, gpus: int) -> int:
    """How many of `runs` this machine's GPUs train at a time."""
    return min(runs, cluster.local_jobs or gpus * cluster.runs_per_gpu)


def side_by_side(runs: int, gpus: int) -> int:
    """The most runs that share a GPU, or the processor where there is no GPU."""
    return math.ceil(runs / max(1, gpus))


def refusal(devices: Sequence[str], runs: int) -> str:
    """Why `runs` cannot be trained at a time on these GPUs of this machine; "" where they can.

    Args:
        devices: as CUDA_VISIBLE_DEVICES names them.
    """
    share = side_by_side(runs, len(devices))
    if not devices or share < 2 or not (alone := for_one_process(devices)):
        return ""
    them = listed([f"{gpu.index} ({gpu.name}, {gpu.compute_mode})" for gpu in alone])
    return (
        f"{plural(share, 'run')} would share a GPU, and the compute mode of GPU {them} lets in one "
        "process at most while MPS does not run; use cluster.runs_per_gpu=1 and leave out "
        "cluster.local_jobs, start MPS (nvidia-cuda-mps-control -d), or have the mode changed "
        "(nvidia-smi -c DEFAULT, as root)"
    )
