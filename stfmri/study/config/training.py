"""A network, and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass

from stfmri.study.config.checks import at_least, one_of
from stfmri.study.errors import ConfigError
from stfmri.study.files import safe_name
from stfmri.study.networks import networks
from stfmri.study.ready_weights import SCRATCH, initial_weights

SLICE_AXES = ("axial", "coronal", "sagittal")
# `model.weights=pretrained:NAME` names weights that `python -m stfmri.pretrain` made.
PRETRAINED = "pretrained:"
# Told by whoever finds out first: the submission, or the run.
FP16_NEEDS_CUDA = (
    "train.precision=fp16 needs a CUDA device and this machine has none; use auto (bf16 or fp32 on "
    "a CPU)"
)


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
            at_least(f"augment.{name}", getattr(self, name), 0)


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
            at_least(f"train.{name}", getattr(self, name), 1)
        for name in ("steps", "early_stopping", "freeze", "workers", "threads"):
            at_least(f"train.{name}", getattr(self, name), 0)
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
        at_least("checkpoint.every_s", self.every_s, 0)


def _check_weights(weights: str) -> None:
    if weights.startswith(PRETRAINED):
        safe_name(weights.removeprefix(PRETRAINED), "the name in model.weights=pretrained:<name>")
    else:
        one_of("model.weights", weights, (*initial_weights(), f"{PRETRAINED}<name>"))
