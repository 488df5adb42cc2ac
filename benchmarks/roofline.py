"""The least time that a training step could take on a device, layer by layer.

Each layer's pass needs at least its operations over the device's peak rate, and at least its bytes
over the device's bandwidth, whichever is more; the bound is the sum over forward passes, gradients
of inputs, gradients of weights, and the optimiser. A tensor is counted as read or written once a
pass; batch normalisation in training reads its input twice, since it needs the mean first.

Both rates are measured on the device at hand: dense arithmetic in the step's precision, and
the copy of an array larger than any cache. A step can beat the bound only by fusing layers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from common import synchronise
from torch import Tensor, nn
from torchvision.models.video.resnet import BasicBlock

from stfmri.learning import device as devices

COPY_BYTES = {"cuda": 2**31, "cpu": 2**28}
ADAM_BYTES = 7 * 4  # read weight, gradient and both moments, write all but the gradient; float32
CAST_BYTES = 4 + 2  # a float32 weight becomes a half-precision one, once a step


@dataclass(frozen=True)
class Ceilings:
    """What the device does at best."""

    flops_per_s: float
    bytes_per_s: float


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
