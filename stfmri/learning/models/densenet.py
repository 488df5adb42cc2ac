"""DenseNet (Huang et al. 2017) in three dimensions, as MONAI builds it."""

from __future__ import annotations

from typing import cast

from torch import nn
from torch.nn import functional as F

from stfmri.learning.models.pooling import Halving
from stfmri.learning.models.record import Network
from stfmri.study.config.training import ModelConfig


def _build(model: ModelConfig, classes: int, channels: int) -> nn.Module:  # noqa: ARG001
    from monai.networks.nets.densenet import DenseNet121  # takes seconds to import

    network = cast(nn.Module, DenseNet121(3, channels, classes))
    # MONAI's own drop the last voxel of an odd axis, and fail on an axis of one.
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.AvgPool3d):
            network.set_submodule(name, Halving(F.avg_pool3d))
    return network


DENSENET121 = Network("densenet121", _build, stem="features.conv0", head="class_layers.out")
