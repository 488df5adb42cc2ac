"""The paper's optimiser, Adam, how its step size goes over a run, and the mean of its weights."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from stfmri.study.config import TrainConfig


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


def mean_weights(network: nn.Module, train: TrainConfig) -> AveragedModel | None:
    """Where the weights of the last epochs are averaged, if the run asks for that.

    Stochastic weight averaging, after Izmailov et al., 'Averaging weights leads to wider optima and
    better generalization' (2018); its batch norm is to be recomputed afterwards.
    """
    return AveragedModel(network) if train.average_last else None


def is_averaged(train: TrainConfig, epoch: int) -> bool:
    """Whether the weights after so many epochs count; those after the last always do."""
    counted = math.ceil(train.epochs * train.average_last - 1e-9)  # 100 · 0.07 is 7.000000000000001
    return epoch > train.epochs - counted
