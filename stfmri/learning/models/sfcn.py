"""The Simple Fully Convolutional Network, made for brain MRI (Peng et al. 2021, section 2.2).

Five times a 3×3×3 convolution, batch norm, pooling and a rectifier, then a 1×1×1 convolution and
the mean over what is left. The authors' last pooling fits their grid of 160 × 192 × 160 voxels
alone, where it is that mean.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn
from torch.nn import functional as F

from stfmri.learning.models.pooling import Halving
from stfmri.learning.models.record import Network
from stfmri.study.config.training import ModelConfig

WIDTHS = (32, 64, 128, 256, 256)  # channels after each pooling
LAST = 64


def _build(model: ModelConfig, classes: int, channels: int) -> nn.Module:  # noqa: ARG001
    network = nn.Sequential()
    for number, (before, after) in enumerate(pairwise((channels, *WIDTHS)), 1):
        block = nn.Sequential(
            nn.Conv3d(before, after, 3, padding=1),
            nn.BatchNorm3d(after),
            Halving(F.max_pool3d),
            nn.ReLU(),
        )
        network.add_module(f"block{number}", block)
    last = nn.Sequential(nn.Conv3d(WIDTHS[-1], LAST, 1), nn.BatchNorm3d(LAST), nn.ReLU())
    network.add_module(f"block{len(WIDTHS) + 1}", last)
    network.add_module("mean", nn.AdaptiveAvgPool3d(1))
    network.add_module("flatten", nn.Flatten())
    network.add_module("fc", nn.Linear(LAST, classes))
    return network


SFCN = Network("sfcn", _build, stem="block1", head="fc")
