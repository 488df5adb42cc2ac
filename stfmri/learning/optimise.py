"""The optimiser, how its step size changes over a run, and the mean of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from stfmri.study.config.training import TrainConfig

OPTIMIZERS: dict[str, type[torch.optim.Adam]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
OF_DEVICE = ("lr", "fused", "capturable")  # of a group: they depend on the device
SCALE = "lr_scale"  # of a group of parameters: what its learning rate is multiplied by


def optimizer(
    network: nn.Module,
    train: TrainConfig,
    scales: Mapping[nn.Parameter, float] | None = None,
    capturable: bool = False,
) -> torch.optim.Adam:
    """The optimiser of all of a network's parameters that learn.

    AdamW does not decay biases and the scales of normalisation, which have one axis: shrinking them
    regularises nothing. Adam's penalty is on everything, as in the paper.

    Args:
        scales: of the learning rate, by parameter; 1 where there is none.
        capturable: whether a CUDA graph may hold its step.
    """
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for parameter in network.parameters():
        if not parameter.requires_grad:
            continue
        is_decayed = train.optimizer == "adam" or parameter.ndim > 1
        scale = (scales or {}).get(parameter, 1.0)
        group = groups.setdefault((is_decayed, scale), {"params": [], SCALE: scale})
        group["params"].append(parameter)
        if not is_decayed:
            group["weight_decay"] = 0.0
    return OPTIMIZERS[train.optimizer](
        list(groups.values()),
        lr=train.learning_rate,
        weight_decay=train.weight_decay,
        fused=True,
        capturable=capturable,
    )


def keep_rates_on(device: torch.device, groups: Iterable[dict[str, Any]]) -> None:
    """Keep learning rates where a CUDA graph finds them."""
    for group in groups:
        group["lr"] = torch.tensor(group["lr"], device=device)


def set_rate(groups: Iterable[dict[str, Any]], rate: float) -> None:
    """Set the learning rate of every group, which may have a scale of its own."""
    for group in groups:
        scaled = rate * group.get(SCALE, 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(scaled)
        else:
            group["lr"] = scaled


def load_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimiser's state, which may come from another kind of device."""
    kept = [{key: group[key] for key in OF_DEVICE} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, kept, strict=True):
        group.update(own)


def learning_rate(train: TrainConfig, step: int, steps: int) -> float:
    """The step size at batch `step` of the run's `steps`, counted from 0.

    It depends on the step's number alone, so that a resumed run repeats it. It rises linearly over
    the first `train.warmup` of the run, then stays or falls along a cosine to nothing: Loshchilov &
    Hutter, 'SGDR' (2017), equation 5, without restarts.
    """
    warm = round(train.warmup * steps)
    if step < warm:
        return train.learning_rate * (step + 1) / warm
    if train.schedule == "constant":
        return train.learning_rate
    return train.learning_rate * (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2


def mean_weights(network: nn.Module, train: TrainConfig) -> AveragedModel | None:
    """Where the weights of the last epochs are averaged, if the run asks for that.

    Stochastic weight averaging, after Izmailov et al., 'Averaging weights leads to wider optima and
    better generalization' (2018); its batch norm is to be recomputed afterwards.
    """
    return AveragedModel(network) if train.average_last else None


def is_averaged(train: TrainConfig, epoch: int, epochs: int) -> bool:
    """Whether the weights after `epoch` of so many epochs count; those after the last always do."""
    counted = math.ceil(epochs * train.average_last - 1e-9)  # 100 · 0.07 is 7.000000000000001
    return epoch > epochs - counted
