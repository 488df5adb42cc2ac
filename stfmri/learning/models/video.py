"""torchvision's 3D video ResNets (Tran et al. 2018), as the paper's 'Network models' uses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import nn
from torchvision.models import video
from torchvision.models.video.resnet import R2Plus1dStem

from stfmri.learning.models.record import Network
from stfmri.study.config.training import ModelConfig


def _network(name: str, make: Callable[..., nn.Module]) -> Network:
    def build(model: ModelConfig, classes: int, channels: int) -> nn.Module:
        network = make(num_classes=classes)
        if model.stem == "factorised":
            network.stem = _factorised_stem()
        _widen(cast(nn.Sequential, network.stem), channels)
        return network

    return Network(name, build, stem="stem", head="fc", ready={"kinetics": make})


def _factorised_stem() -> nn.Sequential:
    """The (2+1)D stem that the parameter count in the paper's Table 1 belongs to."""
    stem = R2Plus1dStem()
    for part in stem:
        if isinstance(part, nn.Conv3d):
            _initialise(part)
    return stem


def _widen(stem: nn.Sequential, channels: int) -> None:
    """Put a convolution of C channels in place of the one that sees three colours."""
    first = cast(nn.Conv3d, stem[0])
    own = nn.Conv3d(
        channels,
        first.out_channels,
        cast("tuple[int, int, int]", first.kernel_size),
        cast("tuple[int, int, int]", first.stride),
        cast("tuple[int, int, int]", first.padding),
        bias=False,
    )
    _initialise(own)
    stem[0] = own


def _initialise(convolution: nn.Conv3d) -> None:
    """Draw a convolution's weights as torchvision does for the rest of the network."""
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")


R3D_18 = _network("r3d_18", video.r3d_18)
MC3_18 = _network("mc3_18", video.mc3_18)
R2PLUS1D_18 = _network("r2plus1d_18", video.r2plus1d_18)
