"""The distinct convolutions and norms of a network, with the shapes that reach them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from stfmri.learning import models
from stfmri.learning.convolutions import reform
from stfmri.learning.fused_norm import FusedNorm, fuse
from stfmri.study.config.training import ModelConfig

CLASSES = 3
Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Convolution:
    """A convolution as torchvision has it, and its input (B, C, T, H, W).

    Attributes:
        first: whether its input is the data, which needs no gradient.
    """

    shape: tuple[int, ...]
    outputs: int
    kernel: Triple
    stride: Triple
    padding: Triple
    first: bool

    def __str__(self) -> str:
        kernel, size = ("×".join(map(str, item)) for item in (self.kernel, self.shape[2:]))
        stride = "" if self.stride == (1, 1, 1) else f" /{','.join(map(str, self.stride))}"
        return f"{self.shape[1]}→{self.outputs} {kernel}{stride} of {size}"

    def layer(self) -> nn.Conv3d:
        """A new one, with random weights."""
        sizes = (self.kernel, self.stride, self.padding)
        return nn.Conv3d(self.shape[1], self.outputs, *sizes, bias=False)


@dataclass(frozen=True)
class Norm:
    """A batch norm with what follows it, and its input (B, C, T, H, W).

    Attributes:
        own: channels with parameters; the others are zero.
        relu: whether a rectifier follows.
        residual: whether a sum comes before the rectifier.
    """

    shape: tuple[int, ...]
    own: int
    relu: bool
    residual: bool

    def __str__(self) -> str:
        size = "×".join(map(str, self.shape[2:]))
        added = "+sum" if self.residual else ""
        relu = "+relu" if self.relu else ""
        return f"norm{added}{relu} {self.own}({self.shape[1]}) of {size}"

    @property
    def passes(self) -> int:
        """How often the fused layer reads or writes so many values, forward and backward."""
        return 11 if self.residual else 8


def convolutions_of(name: str, shape: tuple[int, ...]) -> Counter[Convolution]:
    """How often a network has each convolution.

    Args:
        shape: of the network's input, (B, C, T, H, W).
    """
    found: Counter[Convolution] = Counter()

    def note(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        layer = cast("nn.Conv3d", module)
        sizes = (layer.kernel_size, layer.stride, layer.padding)
        found[
            Convolution(
                tuple(inputs[0].shape),
                layer.out_channels,
                *cast("tuple[Triple, Triple, Triple]", sizes),
                first=not found,
            )
        ] += 1

    with _on_meta(name) as network, _hooks(network, nn.Conv3d, note):
        network(torch.empty(shape, device="meta"))
    return found


def norms_of(name: str, shape: tuple[int, ...]) -> Counter[Norm]:
    """How often a network has each norm, with channels in multiples of eight."""
    found: Counter[Norm] = Counter()

    def note(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        layer = cast("FusedNorm", module)
        added = len(inputs) > 1
        size = tuple(inputs[0].shape)
        found[Norm(size, layer.num_features, layer.relu or added, added)] += 1

    with _on_meta(name) as network:
        fused = fuse(reform(network, "cuda"))
        with _hooks(fused, FusedNorm, note):
            fused(torch.empty(shape, device="meta"))
    return found


@contextmanager
def _on_meta(name: str) -> Iterator[nn.Module]:
    """A network without memory: nothing is computed but shapes."""
    with torch.device("meta"):
        yield models.build(ModelConfig(name=name), CLASSES, 0)


@contextmanager
def _hooks(network: nn.Module, kind: type[nn.Module], note: Any) -> Iterator[None]:
    modules = [module for module in network.modules() if isinstance(module, kind)]
    handles = [module.register_forward_hook(note) for module in modules]
    yield
    for handle in handles:
        handle.remove()
