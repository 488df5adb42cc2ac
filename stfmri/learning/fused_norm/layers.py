"""Layers that take the place of batch norm, rectifier and sum, and fall back on them."""

from __future__ import annotations

import functools
from importlib.util import find_spec
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.video.resnet import BasicBlock

from stfmri.learning.convolutions.shared import TakesOver, WideNorm

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
ALIGNED = 8  # channels: rows begin at multiples of 16 bytes in half precision


@functools.cache
def why_not(device: torch.device) -> str:
    """Why the fused layers cannot run on a device; empty if they can.

    Triton compiles its kernels on first use, with a C compiler and Python's headers. Whether that
    works is found out by trying.
    """
    if device.type != "cuda":
        return f"they need a CUDA device, not {device.type}"
    if find_spec("triton") is None:
        return "Triton is not installed"
    try:
        _try_out(device)
    except Exception as error:  # a compiler's failures are of many kinds
        return f"Triton does not work here: {type(error).__name__}: {error}".partition("\n")[0]
    return ""


def _try_out(device: torch.device) -> None:
    layer = FusedNorm(nn.BatchNorm3d(ALIGNED).to(device), relu=True)
    x = torch.randn(2, ALIGNED, 2, 2, 2, device=device)
    x = x.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    layer._normalise(x, None).sum().backward()
    torch.cuda.synchronize(device)


def fuse(network: nn.Module) -> nn.Module:
    """Join each batch norm with the rectifier, and at a block's end with the sum, in place.

    The new layers hold the same parameters and buffers under the same names. The forms of the
    convolutions (`stfmri.learning.convolutions`) must have been chosen before. Call it where
    `why_not` has nothing to say.
    """
    for name, module in list(network.named_modules()):
        if type(module) is BasicBlock and isinstance(module.relu, nn.ReLU):
            parent = network.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], FusedBlock(module))
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential):
            _fuse_sequence(module)
    return network


def _fuse_sequence(sequence: nn.Sequential) -> None:
    for number, layer in enumerate(sequence):
        if not isinstance(layer, nn.BatchNorm3d) or isinstance(layer, FusedNorm):
            continue
        following = sequence[number + 1] if number + 1 < len(sequence) else None
        relu = isinstance(following, nn.ReLU)
        sequence[number] = FusedNorm(layer, relu)
        if relu:
            sequence[number + 1] = nn.Identity()


class FusedNorm(WideNorm):
    """Batch norm, then the sum with a residual and a rectifier, where asked for."""

    def __init__(self, original: nn.BatchNorm3d, relu: bool) -> None:
        super().__init__(original)
        self.relu = relu

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        """(B, C, T, H, W) → the same shape.

        Args:
            residual: of the same shape; the sum is rectified.
        """
        if self._is_fit(input) and (residual is None or _alike(residual, input)):
            return self._normalise(input, residual)
        wide = input.shape[1] != self.num_features
        y = super().forward(input) if wide else nn.BatchNorm3d.forward(self, input)
        if residual is not None:
            y = y + residual
        return F.relu(y) if self.relu or residual is not None else y

    def _is_fit(self, x: Tensor) -> bool:
        return (
            self.training
            and x.is_cuda
            and x.dtype in DTYPES
            and x.shape[1] % ALIGNED == 0
            and x.numel() > x.shape[1]  # plain batch norm says what is wrong with one voxel
            and x.is_contiguous(memory_format=torch.channels_last_3d)
            and self.affine
            and self.track_running_stats
            and self.momentum is not None
        )

    def _normalise(self, x: Tensor, residual: Tensor | None) -> Tensor:
        # Late, since it needs Triton
        from stfmri.learning.fused_norm.operator import Normalise

        held = dict(self.named_buffers())
        running = (held["running_mean"], held["running_var"], held["num_batches_tracked"])
        relu = self.relu or residual is not None
        momentum = cast("float", self.momentum)
        return cast(
            "Tensor",
            Normalise.apply(x, residual, self.weight, self.bias, running, momentum, self.eps, relu),
        )


def _alike(residual: Tensor, x: Tensor) -> bool:
    return (
        residual.dtype == x.dtype
        and residual.shape == x.shape
        and residual.is_contiguous(memory_format=torch.channels_last_3d)
    )


class FusedBlock(TakesOver, BasicBlock):
    """torchvision's residual block, its last batch norm together with the sum and the rectifier."""

    conv1: nn.Sequential
    conv2: nn.Sequential
    downsample: nn.Sequential | None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, C', T', H', W')."""
        convolution, norm = self.conv2
        residual = x if self.downsample is None else self.downsample(x)
        return norm(convolution(self.conv1(x)), residual)
