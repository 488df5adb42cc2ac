"""The paper's optimiser, Adam, and how its step size goes over a run."""

from __future__ import annotations

import math

import torch
from torch import nn

from stfmri.config import TrainConfig


def adam(network: nn.Module, train: TrainConfig) -> torch.optim.Adam:
    """Adam over all of a network's parameters."""
    return torch.optim.Adam(
        network.parameters(), lr=train.learning_rate, weight_decay=train.weight_decay, fused=True
    )


def learning_rate(train: TrainConfig, step: int, steps: int) -> float:
    """The step size at batch `step` of the run's `steps`, counted from 0.

    Of the step's number alone, so that a resumed run repeats it. Cosine after Loshchilov & Hutter,
    'SGDR' (2017), equation 5, without restarts: from `train.learning_rate` down to nothing.
    """
    if train.schedule == "constant":
        return train.learning_rate
    return train.learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
