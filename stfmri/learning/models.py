"""torchvision's 3D video ResNets: a stem of C channels, dropout before the head, n classes.

Tensor names carry their axes: B batch, C channel, T slices (the pseudo-time axis), H, W in plane.
Paper: 'Network models' and Table 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision.models import video
from torchvision.models.video.resnet import R2Plus1dStem

from stfmri.learning.weights import WeightsError
from stfmri.study import config as configuration
from stfmri.study.config import Config, ModelConfig
from stfmri.study.errors import UserError
from stfmri.study.serialise import load_yaml

BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "r3d_18": video.r3d_18,
    "mc3_18": video.mc3_18,
    "r2plus1d_18": video.r2plus1d_18,
}

# Axes of a stored volume (D, H, W) in the order (T, H, W) that the network sees.
SLICE_PERMUTATION = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}


def build(model: ModelConfig, classes: int, seed: int, channels: int = 1) -> nn.Module:
    """Build the network with freshly drawn weights, the same for the same seed.

    The network maps float (B, C, T, H, W) to logits (B, classes). Call `load_kinetics` afterwards
    for pre-trained weights.

    Args:
        channels: C, the contrasts of a volume.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = BUILDERS[model.name](num_classes=classes)
        if model.stem == "factorised" and model.name == "r3d_18":
            network.stem = factorised = R2Plus1dStem()
            for part in factorised:
                if isinstance(part, nn.Conv3d):
                    _initialise(part)
        stem = cast(nn.Sequential, network.stem)
        first: Any = stem[0]
        own = nn.Conv3d(
            channels, first.out_channels, first.kernel_size, first.stride, first.padding, bias=False
        )
        _initialise(own)
        stem[0] = own
        # Dropout between pooling and head, as in the paper's 'Summary and comparison'.
        network.fc = nn.Sequential(nn.Dropout(model.dropout), cast(nn.Linear, network.fc))
    return network


def load_kinetics(network: nn.Module, model: ModelConfig, file: Path) -> None:
    """Load Kinetics-400 weights into everything but the stem and the head.

    With `model.stem_init=rgb_sum` the stem is loaded too, its first kernel summed over the three
    colour channels: a grey film shown as RGB would give the same activations. Each of C channels is
    given this sum divided by C: C times the same film would give them again.

    Args:
        file: a state dict in torchvision's own 400-class format.

    Raises:
        WeightsError: where the file is unreadable, or its keys or shapes are another network's.
    """
    state = read_kinetics(model, file)
    if model.stem_init == "rgb_sum":
        grey = state["stem.0.weight"].sum(dim=1, keepdim=True)
        channels = channels_of(network)
        state["stem.0.weight"] = grey.expand(-1, channels, -1, -1, -1) / channels
        kept = {key: value for key, value in state.items() if not key.startswith("fc.")}
    else:
        kept = {key: value for key, value in state.items() if not key.startswith(("fc.", "stem."))}
    network.load_state_dict(kept, strict=False)


def read_kinetics(model: ModelConfig, file: Path) -> dict[str, Tensor]:
    """Read a state dict in torchvision's own 400-class format.

    Raises:
        WeightsError: where the file is unreadable, or its keys or shapes are another network's.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds; each means this file is no weights
        raise WeightsError(f"cannot read weights from {file}: {_first(error)}") from error
    if not isinstance(state, Mapping):
        raise WeightsError(f"{file} must hold a state dict, found {type(state).__name__}")
    with torch.device("meta"):
        expected = BUILDERS[model.name]().state_dict()
    _check_state(state, expected, model.name, file)
    return dict(state)


def to_slices_first(volume_BCDHW: Tensor, slice_axis: str) -> Tensor:
    """Permute stored axes so that the chosen slice axis becomes the network's time axis."""
    return volume_BCDHW.permute(0, 1, *(2 + axis for axis in SLICE_PERMUTATION[slice_axis]))


def head_of(model: ModelConfig) -> str:  # noqa: ARG001
    """Dotted name of the layers that make logits of features."""
    return "fc"


def channels_of(network: nn.Module) -> int:
    """How many channels the network's input has."""
    return int(cast(nn.Conv3d, cast(nn.Sequential, network.stem)[0]).in_channels)


def parameter_count(network: nn.Module) -> int:
    """Trainable parameters, as Table 1 counts them."""
    return sum(item.numel() for item in network.parameters() if item.requires_grad)


@dataclass(frozen=True)
class Trained:
    """A finished run's network in eval mode, and what a new scan needs to go through it.

    Attributes:
        classes: in the order of the network's outputs.
        contrasts: in the order of the network's input channels.
        config: the run's own.
        chain: what a training volume of the run went through, as its shard had it.
        trained_on: sha256 of the voxels of each training volume.
    """

    network: nn.Module
    classes: tuple[str, ...]
    contrasts: tuple[str, ...]
    config: Config
    chain: dict[str, Any]
    trained_on: frozenset[str]


def load_trained(run: Path) -> Trained:
    """Load what a finished run wrote.

    Raises:
        UserError: where the run has no model.pt, or it does not fit the run's config.yaml.
    """
    config = configuration.load(run / "config.yaml")
    file = run / "model.pt"
    if not file.is_file():
        raise UserError(f"no model at {file}: the run has not finished; see launch/status.py")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        classes, trained_on = tuple(content["classes"]), frozenset(content["trained_on"])
        # A model of an earlier version does not tell; the chain, below, does.
        contrasts = tuple(content.get("contrasts", config.data.channels))
        network = build(config.model, len(classes), seed=0, channels=len(contrasts))
        network.load_state_dict(content["state_dict"])
        chain = dict(load_yaml(content.get("chain", "{}"), f"{file} (chain)"))
    except Exception as error:  # torch.load raises many kinds; each means this file is no model
        raise WeightsError(f"{file} does not fit {run / 'config.yaml'}: {_first(error)}") from error
    if differing := [key for key, value in config.chain.items() if chain.get(key) != value]:
        key = differing[0]
        raise UserError(
            f"{file} was trained on volumes made with {key}={chain.get(key)}; this program would "
            f"make them with {config.chain[key]}: use the code that the sweep was submitted with, "
            "in its folder code-…, or train again"
        )
    return Trained(network.eval(), classes, contrasts, config, chain, trained_on)


def _initialise(convolution: nn.Conv3d) -> None:
    """Draw a convolution's weights as torchvision does for the rest of the network."""
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")


def _check_state(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], name: str, file: Path
) -> None:
    # Counters of batches, which old files lack and prediction does not use.
    needed = {key for key in expected if not key.endswith("num_batches_tracked")}
    missing = sorted(needed - set(state))
    unknown = sorted(set(map(str, state)) - set(expected))
    if missing or unknown:
        what = f"lacks {missing[0]}" if missing else f"has the unknown {unknown[0]}"
        raise WeightsError(
            f"{file} holds the weights of another network than {name}: it {what} "
            f"({len(missing)} keys missing, {len(unknown)} unknown)"
        )
    for key in state:
        found = tuple(getattr(state[key], "shape", ()))
        if found != tuple(expected[key].shape):
            raise WeightsError(
                f"{file} holds the weights of another network than {name}: {key} has the shape "
                f"{found}, expected {tuple(expected[key].shape)}"
            )


def _first(error: Exception) -> str:
    """The first line of an error's text."""
    return (str(error) or type(error).__name__).splitlines()[0]
