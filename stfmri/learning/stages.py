"""The stages of a network, from its stem to its head, and what fine-tuning does to each.

A stage is a part between two scales of a convolutional network: the stem, each group of blocks, the
head. They are read off the module tree, so that a network needs to declare nothing: a child of the
network is a stage, single layers that follow one another (a convolution and its norm) are one, and
a lone child that holds all of them, as DenseNet's `features`, is looked into.

Frozen stages: Yosinski et al., 'How transferable are features in deep neural networks?' (2014).
Layer-wise decay of the learning rate: Howard & Ruder, 'Universal language model fine-tuning for
text classification' (2018), section 3.2, 'discriminative fine-tuning'; in the form `decay^distance`
that BEiT and MAE use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from stfmri.learning import models
from stfmri.study.config import Config
from stfmri.study.config.training import TrainConfig
from stfmri.study.errors import ConfigError


@dataclass(frozen=True)
class Stage:
    """Modules that are frozen, or slowed down, together."""

    name: str
    modules: tuple[nn.Module, ...]

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter of its modules."""
        for module in self.modules:
            yield from module.parameters()


def stages_of(network: nn.Module, head: str) -> tuple[Stage, ...]:
    """The network's stages in the order of its modules; the head comes last.

    Args:
        head: dotted name of the layers that make logits of features; what lies beside them in
            the same child of the network counts as the head too.
    """
    last = head.partition(".")[0]
    children = [(name, child) for name, child in _learning(network) if name != last]
    while len(children) == 1 and len(inner := _learning(children[0][1])) > 1:
        children = inner
    found: list[Stage] = []
    for name, child in children:
        if _is_layer(child) and found and _is_layer(found[-1].modules[-1]):
            found[-1] = Stage(found[-1].name, (*found[-1].modules, child))
        else:
            found.append(Stage(name, (child,)))
    return (*found, Stage(last, (network.get_submodule(last),)))


def frozen_stages(stages: tuple[Stage, ...], train: TrainConfig) -> tuple[Stage, ...]:
    """Those that `train.freeze` keeps as they were loaded.

    Raises:
        ConfigError: where it names all of them, the head included, or more.
    """
    if train.freeze >= len(stages):
        names = ", ".join(stage.name for stage in stages[:-1])
        raise ConfigError(
            f"train.freeze must be at most {len(stages) - 1}, the stages before the head "
            f"({names}); found {train.freeze}"
        )
    return stages[: train.freeze]


def require_some_left(config: Config) -> None:
    """Refuse a `train.freeze` that keeps all of the network's stages; builds it without numbers.

    Raises:
        ConfigError: as `frozen_stages`.
    """
    with torch.device("meta"):
        network = models.build(config.model, classes=2, seed=0)
    frozen_stages(stages_of(network, models.head_of(config.model)), config.train)


def fine_tuned(
    network: nn.Module, config: Config
) -> tuple[tuple[Stage, ...], Mapping[nn.Parameter, float]]:
    """Freeze what the run keeps of weights from elsewhere, and say how fast the rest learns.

    Returns:
        The frozen stages, and what the learning rate of each parameter is multiplied by.
    """
    train = config.train
    if config.model.weights == "scratch" or (not train.freeze and train.layer_decay == 1):
        return (), {}
    stages = stages_of(network, models.head_of(config.model))
    frozen = frozen_stages(stages, train)
    freeze(frozen)
    rates = rate_scales(stages, train.layer_decay)
    scales = {
        parameter: rate
        for stage, rate in zip(stages, rates, strict=True)
        for parameter in stage.parameters()
    }
    return frozen, scales


def freeze(stages: Sequence[Stage]) -> None:
    """Exclude stages from training; call `keep_frozen` whenever the network is set to train."""
    for stage in stages:
        for parameter in stage.parameters():
            parameter.requires_grad_(False)


def keep_frozen(stages: Sequence[Stage]) -> None:
    """Have frozen stages normalise, and drop nothing, as in evaluation."""
    for stage in stages:
        for module in stage.modules:
            module.eval()


def rate_scales(stages: tuple[Stage, ...], decay: float) -> tuple[float, ...]:
    """What each stage's learning rate is multiplied by: 1 at the head, less towards the stem."""
    last = len(stages) - 1
    return tuple(decay ** (last - number) for number in range(len(stages)))


def _learning(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Children that have parameters."""
    return [
        (name, child)
        for name, child in module.named_children()
        if next(child.parameters(), None) is not None
    ]


def _is_layer(module: nn.Module) -> bool:
    return not list(module.children())
