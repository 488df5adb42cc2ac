"""The registry of networks, and how one is built."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stfmri.learning.models.densenet import DENSENET121
from stfmri.learning.models.record import Network
from stfmri.learning.models.resnet import RESNET10, RESNET18, RESNET50
from stfmri.learning.models.sfcn import SFCN
from stfmri.learning.models.video import MC3_18, R2PLUS1D_18, R3D_18
from stfmri.study.config.checks import one_of
from stfmri.study.config.training import ModelConfig
from stfmri.study.errors import UserError
from stfmri.study.networks import lacking

NETWORKS = {
    network.name: network
    for network in (
        *(R3D_18, MC3_18, R2PLUS1D_18),
        SFCN,
        DENSENET121,
        *(RESNET10, RESNET18, RESNET50),
    )
}

# Axes of a stored volume (D, H, W) in the order (T, H, W) that the network sees.
SLICE_PERMUTATION = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}


def network_named(name: str) -> Network:
    """The record of that name.

    Raises:
        ConfigError: where there is none.
    """
    one_of("model.name", name, NETWORKS)
    return NETWORKS[name]


def require_library(name: str) -> None:
    """Refuse a network whose library is not installed.

    Raises:
        UserError: naming the command that installs it.
    """
    if install := lacking(name):
        raise UserError(f"{name} needs a library that is not installed: {install}")


def head_of(model: ModelConfig) -> str:
    """Dotted name of the layers that make logits of features: dropout, and a linear layer."""
    return network_named(model.name).head


def build(model: ModelConfig, classes: int, seed: int, channels: int = 1) -> nn.Module:
    """Build the network with freshly drawn weights, the same for the same seed.

    The network maps float (B, C, T, H, W) to logits (B, classes). Call `load_weights` afterwards
    for pre-trained weights.

    Args:
        channels: C, the contrasts of a volume.

    Raises:
        UserError: where the library that builds it is not installed.
    """
    require_library(model.name)
    network = network_named(model.name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = network.build(model, classes, channels)
    # As in the paper's 'Summary and comparison'.
    head = nn.Sequential(nn.Dropout(model.dropout), built.get_submodule(network.head))
    built.set_submodule(network.head, head)
    return built


def to_slices_first(volume_BCDHW: Tensor, slice_axis: str) -> Tensor:
    """Permute stored axes so that the chosen slice axis becomes the network's time axis."""
    return volume_BCDHW.permute(0, 1, *(2 + axis for axis in SLICE_PERMUTATION[slice_axis]))


def first_convolution(network: nn.Module) -> tuple[str, nn.Conv3d]:
    """The convolution that sees the channels, and its dotted name."""
    return next(
        (name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv3d)
    )


def channels_of(network: nn.Module) -> int:
    """How many channels the network's input has."""
    return first_convolution(network)[1].in_channels


def parameter_count(network: nn.Module) -> int:
    """Trainable parameters, as Table 1 counts them."""
    return sum(item.numel() for item in network.parameters() if item.requires_grad)
