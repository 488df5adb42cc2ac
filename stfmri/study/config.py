"""The configuration: plain dataclasses, checked when they are made, read and written as YAML.

Hydra composes a configuration (`stfmri.study.compose`); everything else sees these classes alone,
so a run can be trained from its frozen `config.yaml` where Hydra is not installed.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from stfmri.study.errors import ConfigError
from stfmri.study.files import read_text, safe_name, write_atomic
from stfmri.study.networks import networks
from stfmri.study.ready_weights import READY_WEIGHTS, SCRATCH, initial_weights
from stfmri.study.serialise import dump_yaml, from_dict, load_yaml, to_dict
from stfmri.study.splits import SPLITS

# Raised when the same settings would make other voxels: caches of both are kept apart.
CHAIN_VERSION = 2
# The settings that decide a stored voxel, by group; the others decide how it is made.
CHAIN_KEYS = {
    "data": ("contrasts", "missing"),
    "preprocessing": (
        "spacing_mm",
        "field_mm",
        "percentiles",
        "skullstrip",
        "bias",
        "register",
        "antialias",
    ),
}
SCAN = "scan"  # the one channel of a cohort that names no contrasts
# Environment variable, set for a run whose job asked for a GPU: the setting that did, in words.
GPU_ASKED = "STFMRI_GPU_ASKED"
SLICE_AXES = ("axial", "coronal", "sagittal")
# `model.weights=pretrained:NAME` names weights that `python -m stfmri.pretrain` made.
PRETRAINED = "pretrained:"
# Told by whoever finds out first: the submission, or the run.
FP16_NEEDS_CUDA = (
    "train.precision=fp16 needs a CUDA device and this machine has none; use auto (bf16 or fp32 on "
    "a CPU)"
)


@dataclass(frozen=True)
class DataConfig:
    """Which scans, and which column is the class."""

    kind: str = "table"  # a layout of preprocessing/cohorts
    name: str = "cohort"  # first part of the cache folder's name
    label: str = "label"  # the column of the cohort table that holds the class
    classes: tuple[str, ...] = ()  # in the order of the tables; empty: as found, sorted
    contrasts: tuple[str, ...] = ()  # channels of a volume, in order; empty: the cohort's one scan
    missing: str = "reject"  # a subject without one of the contrasts: reject | zeros
    exclude: str | None = None  # CSV of subjects that are left out, with the reason
    brats: str | None = None  # kind=brats_ixi: the folder that holds HGG and LGG
    ixi: str | None = None  # kind=brats_ixi: the folder that holds IXI*-T1.nii(.gz)
    ixi_count: int = 259  # IXI scans to draw; 0 takes all of them
    ixi_seed: int = 0
    table: str | None = None  # the table of scans, or of the labels that a layout lacks
    stripped: bool = False  # kind=table: whether scans are brain-extracted, where no column says
    covariates: tuple[str, ...] = ()  # columns that the baseline `covariates` learns from
    subgroups: tuple[str, ...] = ()  # columns whose groups the report scores one by one
    external: str | None = None  # split=external: data.name of the cohort that is tested
    folder: str | None = None  # the folder of every layout but the table

    def __post_init__(self) -> None:
        one_of("data.missing", self.missing, ("reject", "zeros"))
        safe_name(self.name, "data.name")
        for name in self.contrasts:
            safe_name(name, "data.contrasts")
        if len(set(self.contrasts)) != len(self.contrasts):
            raise ConfigError(f"data.contrasts names a contrast twice: {list(self.contrasts)}")
        if self.external is not None:
            safe_name(self.external, "data.external")
        if len(set(self.classes)) != len(self.classes):
            raise ConfigError(f"data.classes names a class twice: {list(self.classes)}")
        _at_least("data.ixi_count", self.ixi_count, 0)

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of a volume's channels, in order."""
        return self.contrasts or (SCAN,)


@dataclass(frozen=True)
class PreprocessingConfig:
    """The chain from a scan to a volume of the cache."""

    spacing_mm: float = 2.0  # isotropic
    field_mm: tuple[float, float, float] = (240.0, 240.0, 156.0)  # right, anterior, superior
    percentiles: tuple[float, float] = (0.5, 99.5)  # over the brain; become 0 and 1
    skullstrip: str = "deepbet"  # an extractor of preprocessing/extraction
    bias: str = "none"  # correction of the coil's shading: none | n4
    register: str = "none"  # into the space of a template: none | mni
    antialias: bool = True  # low-pass before a coarser grid
    shard_volumes: int = 64  # volumes a shard holds at most
    jobs: int = 0  # worker processes; 0: one a core

    def __post_init__(self) -> None:
        one_of("preprocessing.bias", self.bias, ("none", "n4"))
        one_of("preprocessing.register", self.register, ("none", "mni"))
        if not 0.5 <= self.spacing_mm <= 20:
            raise ConfigError(
                f"preprocessing.spacing_mm must lie in 0.5–20 mm, found {self.spacing_mm}"
            )
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ConfigError(
                f"preprocessing.percentiles must rise within 0–100, found {[low, high]}"
            )
        if min(self.field_mm) < self.spacing_mm or max(self.field_mm) > 1000:
            raise ConfigError(
                "preprocessing.field_mm must hold a voxel each way and span at most 1000 mm, found "
                f"{list(self.field_mm)}"
            )
        _at_least("preprocessing.shard_volumes", self.shard_volumes, 1)
        _at_least("preprocessing.jobs", self.jobs, 0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of a volume along (superior, anterior, right), as stored: (D, H, W)."""
        right, anterior, superior = (round(mm / self.spacing_mm) for mm in self.field_mm)
        return superior, anterior, right


@dataclass(frozen=True)
class SplitConfig:
    """How subjects are divided, and which fold a run takes."""

    kind: str = "random"  # of stfmri/study/splits
    n: int = 3  # folds; 0: as many as the data gives, for kinds that take them from it
    repeats: int = 1  # kind=kfold: times that every subject is tested
    groups: int = 0  # kind=source: groups of sources; 0: each source by itself
    column: str = ""  # kind=column: of the cohort table; empty: `fold` if there, else `split`
    seed: int = 0
    test_fraction: float = 0.3  # kind=random
    val_fraction: float = 0.0  # of the training part, watched but never trained on
    train_fraction: float = 1.0  # of each fold's training part, which runs train on
    near_duplicates: str = "together"  # scans that are almost the same: together | apart
    fold: int = 0
    sha256: str = ""  # of the folds, filled in at submission; empty: any
    inner: float = 0.0  # set by sweep.select: the share of the training part that judges; 0: none

    def __post_init__(self) -> None:
        one_of("split.kind", self.kind, SPLITS)
        kind = SPLITS[self.kind]
        one_of("split.near_duplicates", self.near_duplicates, ("together", "apart"))
        _at_least("split.n", self.n, kind.least_n)
        _at_least("split.repeats", self.repeats, 1)
        _at_least("split.groups", self.groups, 0)
        usual = {item.name: item.default for item in fields(self)}
        for key in {key for other in SPLITS.values() for key in other.keys} - {*kind.keys}:
            if getattr(self, key) != usual[key]:
                owners = ", ".join(o.name for o in SPLITS.values() if key in o.keys)
                raise ConfigError(f"split.{key} needs split={owners}, found split={self.kind}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"split.seed must lie in 0–{2**32 - 1}, found {self.seed}")
        if not 0 < self.test_fraction < 1:
            raise ConfigError(f"split.test_fraction must lie in (0, 1), found {self.test_fraction}")
        if not 0 < self.train_fraction <= 1:
            raise ConfigError(
                f"split.train_fraction must lie in (0, 1], found {self.train_fraction}"
            )
        if not 0 <= self.val_fraction < 1:
            raise ConfigError(f"split.val_fraction must lie in [0, 1), found {self.val_fraction}")
        if not 0 <= self.inner < 1:
            raise ConfigError(f"split.inner must lie in [0, 1), found {self.inner}")
        # Before the data is read, a fold may be any.
        if self.fold < 0 or (self.n and self.fold >= self.folds):
            raise ConfigError(
                f"split.fold must lie in 0–{self.folds - 1} (split.n={self.n}), found {self.fold}"
            )

    @property
    def folds(self) -> int:
        """How many folds there are; 0 before the data is read, for kinds that need it."""
        return SPLITS[self.kind].folds(self)


@dataclass(frozen=True)
class ModelConfig:
    """A network, its stem as wide as a volume has channels."""

    name: str = "r3d_18"  # of a file in conf/model
    weights: str = SCRATCH  # scratch | kinetics | medicalnet | pretrained:<name>
    weights_file: str | None = None  # your own copy of the weights; null: in data/weights
    weights_name: str = ""  # their file name, set by conf/model
    weights_hash: str = ""  # first digits of that file's sha256, set by conf/model
    stem: str = "basic"  # basic: the text's 3×7×7; factorised: the (2+1)D stem of Table 1
    stem_init: str = "fresh"  # fresh: random, as in the paper; rgb_sum: Kinetics' RGB summed
    dropout: float = 0.3
    slice_axis: str = "axial"  # the network's pseudo-time axis

    def __post_init__(self) -> None:
        one_of("model.name", self.name, networks())
        _check_weights(self.weights)
        one_of("model.stem", self.stem, ("basic", "factorised"))
        one_of("model.stem_init", self.stem_init, ("fresh", "rgb_sum"))
        one_of("model.slice_axis", self.slice_axis, SLICE_AXES)
        about = networks()[self.name]
        # What stfmri.pretrain made of any network; the run says whether it was this one.
        made = (self.weights,) if self.weights.startswith(PRETRAINED) else ()
        for key, found, there in (
            ("weights", self.weights, (SCRATCH, *about.weights, *made)),
            ("stem", self.stem, about.stems),
        ):
            if found not in there:
                raise ConfigError(
                    f"model.{key} of {self.name} must be one of {', '.join(there)}; found {found}"
                )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout must lie in [0, 1), found {self.dropout}")
        if self.stem_init == "rgb_sum" and self.weights != "kinetics":
            raise ConfigError("model.stem_init=rgb_sum needs model.weights=kinetics")
        if self.stem_init == "rgb_sum" and self.stem != "basic":
            raise ConfigError(
                "model.stem_init=rgb_sum needs the stem that Kinetics weights have; "
                f"{self.name}'s is model.stem=basic"
            )


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to training volumes, never to test volumes."""

    kind: str = "light"  # none | light (affine, flip) | heavy (light, elastic, k-space)
    affine_probability: float = 1.0  # else the volume is flipped at most
    scale: tuple[float, float] = (0.9, 1.2)
    degrees: float = 10.0  # rotation about each axis, uniform in ± this
    flip_probability: float = 0.25  # left–right
    intensity_probability: float = 0.0  # of a change of contrast, shading and noise together
    log_gamma: float = 0.3  # contrast: exponents from e^-this to e^this
    shading: float = 0.3  # coefficients of the coil's shading, uniform in ± this
    noise: float = 0.05  # most standard deviation of the noise; white matter is near 1
    elastic_probability: float = 0.5  # heavy only, as the three below
    motion_probability: float = 0.2
    spike_probability: float = 0.2
    ghosting_probability: float = 0.2

    def __post_init__(self) -> None:
        one_of("augment.kind", self.kind, ("none", "light", "heavy"))
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ConfigError(f"augment.scale must be positive and rise, found {list(self.scale)}")
        for name in ("affine", "flip", "intensity", "elastic", "motion", "spike", "ghosting"):
            value = getattr(self, f"{name}_probability")
            if not 0 <= value <= 1:
                raise ConfigError(f"augment.{name}_probability must lie in [0, 1], found {value}")
        for name in ("log_gamma", "shading", "noise"):
            _at_least(f"augment.{name}", getattr(self, name), 0)


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation."""

    epochs: int = 50  # at least; the paper does not say
    steps: int = 0  # at least; more epochs are trained where an epoch has few steps
    batch_size: int = 1
    accumulate: int = 1  # batches whose gradients are averaged before a step
    optimizer: str = "adam"  # adam | adamw (decay apart from the gradient, none of biases, norms)
    learning_rate: float = 1e-5
    schedule: str = "constant"  # of the learning rate: constant | cosine
    warmup: float = 0.0  # share of the run over which the learning rate rises from 0
    weight_decay: float = 1e-3
    label_smoothing: float = 0.0  # share of each target spread over all classes
    early_stopping: int = 0  # epochs without a lower validation loss before a run stops; 0: never
    seed: int = 0
    precision: str = "auto"  # auto | fp16 | bf16 | fp32; auto: fp16 on CUDA, else bf16, else fp32
    resident_share: float = 0.5  # of free GPU memory the training part may fill; 0 streams it
    workers: int = 2  # loader processes when streaming
    average_last: float = 0.0  # share of the epochs, at the end, whose mean weights are tested
    batch_norm: str = "running"  # what tests normalise by: running | recomputed
    # Of weights from elsewhere; a network that starts from scratch is trained as a whole.
    freeze: int = 0  # stages that keep their weights, counted from the stem; 0: none
    layer_decay: float = 1.0  # of the learning rate, by each stage further from the head; 1: none
    eval_batch_size: int = 8
    threads: int = 0  # CPU threads; 0: the cores this process may use
    cuda_graph: bool = True  # launch a step on a GPU as a whole, not layer by layer
    deterministic: bool = False  # on a GPU: the same sums in every run, at some cost in speed

    def __post_init__(self) -> None:
        one_of("train.precision", self.precision, ("auto", "fp16", "bf16", "fp32"))
        one_of("train.optimizer", self.optimizer, ("adam", "adamw"))
        one_of("train.schedule", self.schedule, ("constant", "cosine"))
        one_of("train.batch_norm", self.batch_norm, ("running", "recomputed"))
        for name in ("epochs", "batch_size", "accumulate", "eval_batch_size"):
            _at_least(f"train.{name}", getattr(self, name), 1)
        for name in ("steps", "early_stopping", "freeze", "workers", "threads"):
            _at_least(f"train.{name}", getattr(self, name), 0)
        for name in ("warmup", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"train.{name} must lie in [0, 1), found {getattr(self, name)}")
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"train.layer_decay must lie in (0, 1], found {self.layer_decay}")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ConfigError(
                "train.learning_rate must be above 0 and train.weight_decay not below 0, found "
                f"{self.learning_rate} and {self.weight_decay}"
            )
        if not 0 <= self.average_last < 1:
            raise ConfigError(f"train.average_last must lie in [0, 1), found {self.average_last}")
        if self.average_last and self.batch_norm != "recomputed":
            raise ConfigError(
                "train.average_last needs train.batch_norm=recomputed: no moving average of batch "
                "norm belongs to the mean weights"
            )
        if self.average_last and self.early_stopping:
            raise ConfigError(
                "train.early_stopping tests the best epoch's weights and train.average_last the "
                "mean of the last ones; set one of them to 0"
            )
        if not 0 <= self.resident_share <= 1:
            raise ConfigError(
                f"train.resident_share must lie in [0, 1], found {self.resident_share}"
            )


@dataclass(frozen=True)
class CheckpointConfig:
    """How often a run's state is published."""

    every_s: float = 120.0  # least time between checkpoints, in seconds; 0: every epoch

    def __post_init__(self) -> None:
        _at_least("checkpoint.every_s", self.every_s, 0)


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
            _at_least(f"cluster's {name}", getattr(self, name), 1)
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
        _at_least("cluster.local_jobs", self.local_jobs, 0)
        _at_least("cluster.runs_per_gpu", self.runs_per_gpu, 1)


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
            _at_least("sweep.seeds", seed, 0)


@dataclass(frozen=True)
class ReferenceConfig:
    """A published study whose printed figures the report shows beside the sweep's own."""

    name: str = ""  # of a file in stfmri/evidence/references; empty: none


@dataclass(frozen=True)
class Config:
    """Everything that one run, or one preprocessing, depends on."""

    root: str = "."  # holds data/, runs/ and results/
    data: DataConfig = field(default_factory=DataConfig)
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)

    def __post_init__(self) -> None:
        model = self.model
        ready = READY_WEIGHTS.get(model.weights)
        is_fresh = ready and not ready.keeps_first_layer and model.stem_init == "fresh"
        if self.train.freeze and is_fresh:
            raise ConfigError(
                f"train.freeze would keep the newly drawn stem as it is; with {model.weights} "
                "weights it needs model.stem_init=rgb_sum"
            )

    @property
    def chain(self) -> dict[str, Any]:
        """Every setting that a stored voxel depends on, by its key."""
        settings: dict[str, Any] = {"version": CHAIN_VERSION}
        for group, keys in CHAIN_KEYS.items():
            values = to_dict(getattr(self, group))
            settings |= {f"{group}.{key}": _number(values[key]) for key in keys}
        return settings

    @property
    def cache(self) -> Path:
        """The folder of shards: one for each cohort and each chain that makes volumes of it."""
        content = json.dumps(self.chain, sort_keys=True).encode()
        digest = hashlib.sha256(content).hexdigest()[:8]
        name = f"{self.data.name}-{self.preprocessing.spacing_mm:g}mm-{digest}"
        return Path(self.root) / "data" / "cache" / name

    @property
    def external_cache(self) -> Path | None:
        """The folder of shards that are tested alone; None where the split needs no other cohort.

        Raises:
            ConfigError: where the split needs another cohort and none is named.
        """
        if not SPLITS[self.split.kind].is_external:
            return None
        name = self.data.external
        if not name or name == self.data.name:
            raise ConfigError(
                f"split={self.split.kind} needs data.external=NAME, the data.name of another "
                f"cohort than {self.data.name}; found {name}"
            )
        return replace(self, data=replace(self.data, name=name)).cache

    @property
    def split_file(self) -> Path:
        """Where the drawn folds are written, once."""
        split = self.split
        label = safe_name(self.data.label, "data.label")
        tag = SPLITS[split.kind].tag(self)
        # Names of files from before the choice was there stay.
        apart = "-apart" if split.near_duplicates == "apart" else ""
        return self.cache / "splits" / f"{split.kind}-{label}{tag}-{split.seed}{apart}.json"

    @property
    def sweep_folder(self) -> Path:
        """The folder of the sweep's runs, of its jobs and of its frozen code."""
        return Path(self.root) / "runs" / self.sweep.name

    @property
    def results_folder(self) -> Path:
        """Tables, figures and report of the sweep."""
        return Path(self.root) / "results" / self.sweep.name


def _number(value: Any) -> Any:
    """Whole numbers as the others: 2 mm are 2.0 mm."""
    if isinstance(value, list):
        return [_number(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def save(config: Config, path: Path) -> None:
    """Write the whole configuration as YAML."""
    write_atomic(path, dump_yaml(to_dict(config)))


def load(path: Path) -> Config:
    """Read a configuration that `save` wrote.

    Raises:
        ConfigError: where the file is missing, is no YAML, or has an unknown key or a bad value.
    """
    try:
        text = read_text(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(
            f"no configuration at {path}; a run's own is runs/<sweep>/<variant>/fold<k>/config.yaml"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} must be UTF-8 text: {error}") from error
    values = load_yaml(text, str(path))
    return from_dict(Config, values, file=str(path))


def one_of(key: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        ConfigError: listing them, and the one that was probably meant.
    """
    choices = tuple(choices)
    if value not in choices:
        close = difflib.get_close_matches(value, choices, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigError(f"{key} must be one of {', '.join(choices)}; found {value!r}{hint}")


def _check_weights(weights: str) -> None:
    if weights.startswith(PRETRAINED):
        safe_name(weights.removeprefix(PRETRAINED), "the name in model.weights=pretrained:<name>")
    else:
        one_of("model.weights", weights, (*initial_weights(), f"{PRETRAINED}<name>"))


def _at_least(key: str, value: float, least: float) -> None:
    if value < least:
        raise ConfigError(f"{key} must be at least {least}, found {value}")
