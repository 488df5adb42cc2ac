"""Which runs belong together, where they run, and what they are compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stfmri.study.config.checks import at_least, one_of
from stfmri.study.errors import ConfigError
from stfmri.study.files import safe_name

# Environment variable, set for a run whose job asked for a GPU: the setting that did, in words.
GPU_ASKED = "STFMRI_GPU_ASKED"


@dataclass(frozen=True)
class StageResources:
    """What one job asks of SLURM; null leaves the cluster's own default."""

    time_min: int = 60
    cpus: int = 2
    mem_gb: float | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gres: str | None = None
    constraint: str | None = None
    array_parallelism: int = 256  # tasks of one array that run at a time
    setup: tuple[str, ...] = ()  # shell lines run before Python: modules, environment

    def __post_init__(self) -> None:
        for name in ("time_min", "cpus", "array_parallelism"):
            at_least(f"cluster's {name}", getattr(self, name), 1)
        if self.mem_gb is not None and self.mem_gb <= 0:
            raise ConfigError(f"cluster's mem_gb must be above 0, found {self.mem_gb}")


@dataclass(frozen=True)
class ClusterConfig:
    """Where jobs run."""

    kind: str = "auto"  # slurm | local | auto: SLURM where sbatch is found, else this machine
    local_jobs: int = 0  # runs at a time on this machine; 0: as many as it has room for
    runs_per_gpu: int = 1  # runs side by side on each GPU: of a SLURM job, or of this machine
    preprocess: StageResources = field(default_factory=StageResources)
    train: StageResources = field(default_factory=StageResources)
    baselines: StageResources = field(default_factory=StageResources)
    collect: StageResources = field(default_factory=StageResources)

    def __post_init__(self) -> None:
        one_of("cluster.kind", self.kind, ("auto", "slurm", "local"))
        at_least("cluster.local_jobs", self.local_jobs, 0)
        at_least("cluster.runs_per_gpu", self.runs_per_gpu, 1)


@dataclass(frozen=True)
class SweepConfig:
    """Which runs belong together: models × weights × further axes × seeds × folds."""

    name: str = "single"
    note: str = ""  # a caution that the report prints at its top
    models: tuple[str, ...] = ("r3d_18",)
    weights: tuple[str, ...] = ("scratch",)
    folds: tuple[int, ...] = ()  # empty: every fold of the split
    seeds: tuple[int, ...] = ()  # of train.seed, replicates of every run; empty: train.seed alone
    axes: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # key or group → values
    # key or group → values, of which each fold chooses on its own training subjects
    select: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    # Image baselines to run on the same folds, of those that fit the cohort; empty: none.
    baselines: tuple[str, ...] = ("intensity", "shape", "voxels", "covariates", "shuffled")

    def __post_init__(self) -> None:
        safe_name(self.name, "sweep.name")
        if not self.models or not self.weights:
            raise ConfigError("sweep.models and sweep.weights must each name at least one choice")
        if len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"sweep.seeds names a seed twice: {list(self.seeds)}")
        for seed in self.seeds:
            at_least("sweep.seeds", seed, 0)


@dataclass(frozen=True)
class ReferenceConfig:
    """A published study whose printed figures the report shows beside the sweep's own."""

    name: str = ""  # of a file in stfmri/evidence/references; empty: none
