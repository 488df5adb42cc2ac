"""3D ResNets as MONAI builds them, in the variants that MedicalNet (Chen et al. 2019) trained."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F

from stfmri.learning.models.record import Network
from stfmri.study.config.training import ModelConfig


class PaddedShortcut(nn.Module):
    """A shortcut without weights to fewer voxels and more channels, which are zero.

    He et al. 2016, option A. MONAI's gives the same values, but lets no gradient through.
    """

    def __init__(self, more: int, stride: int) -> None:
        """Add `more` channels and keep every `stride`-th voxel along each axis."""
        super().__init__()
        self.more, self.stride = more, stride

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, C + more, ⌈T/stride⌉, ⌈H/stride⌉, ⌈W/stride⌉)."""
        kept = F.avg_pool3d(x_BCTHW, 1, self.stride)
        return F.pad(kept, (0,) * 6 + (0, self.more))


def _network(depth: int, shortcut: str) -> Network:
    """The record of one depth.

    Args:
        shortcut: where width changes, a convolution (B) or zeros (A), as MedicalNet's weights of
            that depth need it.
    """

    def make(**sizes: Any) -> nn.Module:
        from monai.networks.nets import resnet  # takes seconds to import

        options = {"shortcut_type": shortcut, "bias_downsample": False}
        network = getattr(resnet, f"resnet{depth}")(**options, **sizes)
        for layer in (network.layer2, network.layer3, network.layer4) if shortcut == "A" else ():
            first = layer[0].conv1
            more = first.out_channels - first.in_channels
            layer[0].downsample = PaddedShortcut(more, first.stride[0])
        return cast(nn.Module, network)

    def build(model: ModelConfig, classes: int, channels: int) -> nn.Module:  # noqa: ARG001
        return make(n_input_channels=channels, num_classes=classes)

    def medicalnet() -> nn.Module:
        return make(n_input_channels=1, feed_forward=False)

    return Network(
        f"resnet{depth}", build, stem="conv1", head="fc", ready={"medicalnet": medicalnet}
    )


RESNET10 = _network(10, "B")
RESNET18 = _network(18, "A")
RESNET50 = _network(50, "B")
