"""Batch norm with what follows it: PyTorch's layers and the fused ones against fp64, and time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpu.convolving import LAYOUT, NETWORKS, relative, repeats
from gpu.layers import Norm, norms_of
from gpu.record import Report
from gpu.timing import milliseconds
from stfmri.learning.convolutions import WideNorm
from stfmri.learning.fused_norm import FusedNorm, why_not

LIMIT = 5e-3  # as for convolutions
Layer = Callable[[Tensor, Tensor | None], Tensor]
WAYS = ("as torchvision has them", "of padded channels", "fused")


@dataclass(frozen=True)
class Outcome:
    """What was measured of a norm.

    Attributes:
        error: the largest relative one of output, gradients and running statistics.
        ms: forward and backward.
        repeats: whether doing it again gave the same bits.
    """

    error: float
    ms: float
    repeats: bool


Outcomes = dict[str, Outcome]


class Check:
    """One norm with its data."""

    def __init__(self, norm: Norm, device: torch.device) -> None:
        self.norm, self.device = norm, device
        torch.manual_seed(0)
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        own = (1, norm.own, 1, 1, 1)
        # Means of some standard deviations, as convolutions of rectified values have
        x = self._drawn() * (0.5 + torch.rand(own, device=device))
        x = x + 3 * torch.randn(own, device=device)
        self.x, self.residual, self.gradient = (
            self._widened(item).to(dtype) for item in (x, self._drawn(), self._drawn())
        )

    def _drawn(self) -> Tensor:
        batch, _, *size = self.norm.shape
        return torch.randn(batch, self.norm.own, *size, device=self.device)

    def _widened(self, values: Tensor) -> Tensor:
        extra = self.norm.shape[1] - self.norm.own
        return F.pad(values, (0,) * 6 + (0, extra)).contiguous(memory_format=LAYOUT)

    def outcome(self, make: Callable[[nn.BatchNorm3d], tuple[nn.BatchNorm3d, Layer]]) -> Outcome:
        """Measure a way to compute it.

        Args:
            make: gives the layer that holds the statistics, and the whole computation.
        """
        own = self.norm.own
        torch.manual_seed(2)
        start = nn.BatchNorm3d(own)
        nn.init.uniform_(start.weight, 0.5, 1.5)
        nn.init.normal_(start.bias)
        holder, layer = make(start.to(self.device))
        x = self.x.detach().requires_grad_()
        residual = self.residual.detach().requires_grad_() if self.norm.residual else None
        wanted = [x, holder.weight, holder.bias, *([residual] if residual is not None else [])]

        def step() -> tuple[Tensor, ...]:
            y = layer(x, residual)
            return (y.detach(), *torch.autograd.grad(y, wanted, self.gradient))

        y, to_x, to_weight, to_bias, *to_residual = step()
        ours = [y[:, :own], to_x[:, :own], to_weight, to_bias]
        ours += [item[:, :own] for item in to_residual]
        ours += [holder.running_mean, holder.running_var]  # type: ignore[list-item]
        theirs = self._in_fp64(holder, y[:, :own])
        error = max(relative(*pair) for pair in zip(ours, theirs, strict=True))
        return Outcome(error, milliseconds(step, self.device), repeats(step))

    def _in_fp64(self, holder: nn.BatchNorm3d, y: Tensor) -> list[Tensor]:
        """The same in fp64, rectified where the result that is checked is."""
        own = self.norm.own
        x = self.x[:, :own].double().requires_grad_()
        weight, bias = (item.detach().double().requires_grad_() for item in holder.parameters())
        mean, variance = torch.zeros_like(weight), torch.ones_like(weight)
        output = F.batch_norm(x, mean, variance, weight, bias, True, 0.1, holder.eps)
        wanted = [x, weight, bias]
        if self.norm.residual:
            added = self.residual[:, :own].double().requires_grad_()
            output, wanted = output + added, [*wanted, added]
        gradient = self.gradient[:, :own].double()
        if self.norm.relu:
            gradient = gradient * (y > 0)
        gradients = torch.autograd.grad(output, wanted, gradient)
        output = output.relu() if self.norm.relu else output
        return [item.detach().float() for item in (output, *gradients, mean, variance)]


def plain(norm: Norm) -> Callable[[nn.BatchNorm3d], tuple[nn.BatchNorm3d, Layer]]:
    """The layers as torchvision has them."""

    def make(start: nn.BatchNorm3d) -> tuple[nn.BatchNorm3d, Layer]:
        layer = start if norm.own == norm.shape[1] else WideNorm(start)

        def compute(x: Tensor, residual: Tensor | None) -> Tensor:
            y = layer(x)
            if residual is not None:
                y += residual
            return F.relu(y, inplace=True) if norm.relu else y

        return layer, compute

    return make


def fused(norm: Norm) -> Callable[[nn.BatchNorm3d], tuple[nn.BatchNorm3d, Layer]]:
    """The layer that does all in one."""

    def make(start: nn.BatchNorm3d) -> tuple[nn.BatchNorm3d, Layer]:
        layer = FusedNorm(start, norm.relu)
        return layer, layer

    return make


def check(report: Report, shape: tuple[int, ...]) -> None:
    """Measure every distinct norm of the networks, and add up a step of each network."""
    reason = why_not(report.device)
    report.add("fused batch norm", reason or "works")
    measured: dict[Norm, Outcomes] = {}
    for name in NETWORKS:
        counts = norms_of(name, shape)
        for norm in counts:
            if norm not in measured:
                measured[norm] = _measure(report, norm)
        for way in WAYS:
            total = sum(count * measured[norm][way].ms for norm, count in counts.items())
            report.add(f"{name}, norms {way}, ms a step", total)
        changing = sum(not measured[norm][WAYS[-1]].repeats for norm in counts)
        report.add(f"{name}, fused norms whose results change when repeated", changing, limit=0)
        for way in reversed(WAYS):
            worst = max(measured[norm][way].error for norm in counts)
            report.add(f"{name}, worst error of norms {way}", worst, limit=LIMIT)


def _measure(report: Report, norm: Norm) -> Outcomes:
    check = Check(norm, report.device)
    padded = check.outcome(plain(norm))
    narrow = replace(norm, shape=(norm.shape[0], norm.own, *norm.shape[2:]))
    own = padded if narrow == norm else Check(narrow, report.device).outcome(plain(narrow))
    outcomes = dict(zip(WAYS, (own, padded, check.outcome(fused(norm))), strict=True))
    for way, one in outcomes.items():
        report.note(f"{norm}, {way}, ms", one.ms)
        report.note(f"{norm}, {way}, error", one.error)
    values = prod(norm.shape) * check.x.element_size()
    rate = norm.passes * values / outcomes[WAYS[-1]].ms / 1e6
    times = ", ".join(
        f"{way} {one.ms:.3f} ms ({one.error:.0e} off)" for way, one in outcomes.items()
    )
    report.say(f"{norm}: {times}, {rate:.0f} GB/s")
    if report.device.type == "cuda":
        torch.cuda.empty_cache()
    return outcomes
