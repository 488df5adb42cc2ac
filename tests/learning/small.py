"""A network of some thousand weights that trains on a tiny cohort in a tenth of a second."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from stfmri.learning import models
from stfmri.learning.models import Network
from stfmri.study.config.training import ModelConfig


class SmallNetwork(nn.Module):
    """Stem and head as the video networks have them, and nothing in between."""

    def __init__(self, model: ModelConfig, num_classes: int, channels: int) -> None:
        super().__init__()
        convolution = nn.Conv3d(channels, 8, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        self.stem = nn.Sequential(convolution, nn.BatchNorm3d(8), nn.ReLU())
        self.avgpool = nn.Sequential(nn.AdaptiveAvgPool3d(2), nn.BatchNorm3d(8))
        self.fc = nn.Linear(64, num_classes)

    def forward(self, volume_BCTHW: Tensor) -> Tensor:
        return self.fc(self.avgpool(self.stem(volume_BCTHW)).flatten(1))


SMALL = Network("mc3_18", SmallNetwork, stem="stem", head="fc")


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the name of mc3_18."""
    monkeypatch.setitem(models.NETWORKS, "mc3_18", SMALL)
