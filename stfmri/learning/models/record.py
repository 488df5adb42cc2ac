"""What the program must know of a network to build it, and to start it from ready-made weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from stfmri.study.config.training import ModelConfig


@dataclass(frozen=True)
class Network:
    """One network. What it is called and cites is in its file of conf/model.

    Attributes:
        name: of `model.name`, and of that file.
        build: from the configuration, the number of classes and of channels C, a network with
            fresh weights that maps (B, C, T, H, W) to logits (B, classes). Its first convolution
            is as wide as C.
        stem: dotted name of the first layers, which see the channels.
        head: dotted name of the linear layer, which gets dropout before it.
        ready: for each of its `weights` in conf/model, a network whose keys and shapes a file of
            these weights has; only ever built without memory for them.
    """

    name: str
    build: Callable[[ModelConfig, int, int], nn.Module]
    stem: str
    head: str
    ready: Mapping[str, Callable[[], nn.Module]] = field(default_factory=dict)
