"""The least time that a training step could take on a device, layer by layer.

Each layer's pass needs at least its operations over the device's peak rate, and at least its bytes
over the device's bandwidth, whichever is more; the bound is the sum over forward passes, gradients
of inputs, gradients of weights, and the optimiser. A tensor is counted as read or written once a
pass; batch normalisation in training reads its input twice, since it needs the mean first.

Both rates are measured on the device at hand: dense arithmetic in the step's precision, and
the copy of an array larger than any cache. A step can beat the bound only by fusing layers.

Run by itself it prints what the paper's networks need on cards that are not here, computed from
their data sheets: the bound, and the memory that a step holds at its fullest.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from common import Row, new_parser, publish, synchronise
from torch import Tensor, nn
from torchvision.models.video.resnet import BasicBlock

from stfmri.learning import device as devices
from stfmri.learning import models
from stfmri.study.config.training import ModelConfig

COPY_BYTES = {"cuda": 2**31, "cpu": 2**28}
ADAM_BYTES = 7 * 4  # read weight, gradient and both moments, write all but the gradient; float32
CAST_BYTES = 4 + 2  # a float32 weight becomes a half-precision one, once a step


@dataclass(frozen=True)
class Ceilings:
    """What the device does at best."""

    flops_per_s: float
    bytes_per_s: float


@dataclass(frozen=True)
class Card:
    """A GPU by its data sheet: dense fp16 with sums in fp32 on tensor cores, and its memory."""

    name: str
    ceilings: Ceilings
    gigabytes: float


CARDS = (
    Card("H100 SXM", Ceilings(989e12, 3.35e12), 80),
    Card("H200", Ceilings(989e12, 4.8e12), 141),
    Card("Quadro RTX 4000", Ceilings(57e12, 416e9), 8),  # the paper's
)
NETWORKS = ("r3d_18", "mc3_18", "r2plus1d_18")
SHAPE = (1, 1, 78, 120, 120)  # (B, C, T, H, W): the paper's field at 2 mm
STATE_BYTES = 4 * 4  # of a weight: itself, its gradient, two moments of Adam


@dataclass(frozen=True)
class Pass:
    """One pass of one layer."""

    name: str
    flops: float
    bytes: float

    def seconds(self, ceilings: Ceilings) -> float:
        """The least time it takes."""
        return max(self.flops / ceilings.flops_per_s, self.bytes / ceilings.bytes_per_s)


def measure(device: torch.device, precision: str) -> Ceilings:
    """Measure the device's peak rate and bandwidth."""
    return Ceilings(devices.matrix_peak(device, precision), bandwidth(device))


def bandwidth(device: torch.device, repeats: int = 8) -> float:
    """Bytes a second of a large copy, reading and writing both counted."""
    source = torch.ones(COPY_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(repeats):
        synchronise(device)
        started = time.perf_counter()
        target.copy_(source)
        synchronise(device)
        best = min(best, time.perf_counter() - started)
    return 2 * source.numel() / best


def least_seconds(network: nn.Module, shape: tuple[int, ...], ceilings: Ceilings) -> float:
    """The bound for one training step.

    Args:
        network: on the meta device, as torchvision builds it.
        shape: of the input, (B, C, T, H, W).
    """
    return sum(one.seconds(ceilings) for one in passes(network, shape))


def passes(network: nn.Module, shape: tuple[int, ...], size: int = 2) -> list[Pass]:
    """Every pass of a training step over an input of `shape`; activations of `size` bytes each."""
    found: list[Pass] = []

    def count(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            found.extend(_passes(name, module, inputs[0], output, size))

        return hook

    handles = [
        module.register_forward_hook(count(name)) for name, module in network.named_modules()
    ]
    network.train()
    network(torch.empty(shape, device="meta"))
    for handle in handles:
        handle.remove()
    weights = sum(item.numel() for item in network.parameters())
    found.append(Pass("optimiser", 0, weights * (ADAM_BYTES + CAST_BYTES)))
    return found


def _passes(name: str, module: nn.Module, x: Tensor, y: Tensor, size: int) -> Iterator[Pass]:
    taken, given = x.numel() * size, y.numel() * size
    if isinstance(module, (nn.Conv3d, nn.Linear)):
        weight = module.weight.numel() * size
        work = 2.0 * y.numel() * prod(module.weight.shape[1:])
        traffic = taken + given + weight
        yield Pass(f"{name} forward", work, traffic)
        yield Pass(f"{name} weight gradient", work, traffic + weight)  # a float32 gradient
        if x.requires_grad:  # the first layer's input is the data
            yield Pass(f"{name} input gradient", work, traffic)
    elif isinstance(module, nn.BatchNorm3d):
        yield Pass(f"{name} forward", 0, 2 * taken + given)
        yield Pass(f"{name} backward", 0, 2 * (taken + given) + taken)
    elif isinstance(module, nn.ReLU):
        yield Pass(f"{name} forward", 0, taken + given)
        yield Pass(f"{name} backward", 0, 2 * given + taken)
    elif isinstance(module, BasicBlock):  # the sum of its branches; backward needs no copy
        yield Pass(f"{name} sum", 0, 3 * given)
    elif isinstance(module, nn.AdaptiveAvgPool3d):
        yield Pass(f"{name} forward", 0, taken + given)
        yield Pass(f"{name} backward", 0, taken + given)


def held_bytes(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Bytes that a step in fp16 holds when its backward pass begins.

    Weights, gradients and the optimiser's moments in float32, and everything that the backward
    pass needs of the forward pass, in float16. cuDNN's working memory comes on top.

    Args:
        network: on the meta device.
    """
    weights = sum(item.numel() for item in network.parameters())
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    half = network.half().train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = half(torch.empty(shape, dtype=torch.float16, device="meta"))
    del output
    return weights * STATE_BYTES + sum(kept.values())


def main() -> int:
    """Print what the paper's networks need on each card."""
    parser = new_parser(__doc__ or "")
    options = parser.parse_args()
    rows = []
    for name in NETWORKS:
        for card in CARDS:
            with torch.device("meta"):
                network = models.build(ModelConfig(name=name), 3, 0)
            seconds = least_seconds(network, SHAPE, card.ceilings)
            held = held_bytes(network, SHAPE) / 1e9
            rows.append(
                Row(
                    f"{name}, {card.name}",
                    f"{seconds * 1e3:.2f} ms a step",
                    f"{held:.2f} GB of {card.gigabytes:g}",
                )
            )
    return publish("roofline on paper: computed, not measured", rows, quick=options.quick)


if __name__ == "__main__":
    sys.exit(main())
