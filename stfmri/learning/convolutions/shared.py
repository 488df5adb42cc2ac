"""What the forms of a convolution share on every device: the weights, and channels beyond them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TakesOver(nn.Module):
    """A module with everything that another holds: parameters, buffers, settings."""

    def __init__(self, original: nn.Module) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(original.__dict__)


class SameWeights(TakesOver, nn.Conv3d):
    """A convolution that takes over another's weights, and may have channels beyond them."""

    extra_inputs = extra_outputs = 0

    def widened(self) -> Tensor:
        """The weights, and zeros for channels that were added."""
        if not (self.extra_inputs or self.extra_outputs):
            return self.weight
        return F.pad(self.weight, (0,) * 6 + (0, self.extra_inputs, 0, self.extra_outputs))


class WideNorm(TakesOver, nn.BatchNorm3d):
    """Batch norm of more channels than it has parameters for; the others are zero and stay so."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, T, H, W) → the same shape."""
        own, extra = self.num_features, (0, input.shape[1] - self.num_features)
        held = dict(self.named_buffers())
        mean, variance = (F.pad(held[name], extra) for name in ("running_mean", "running_var"))
        weight, bias = F.pad(self.weight, extra), F.pad(self.bias, extra)
        momentum = cast("float", self.momentum)
        y = F.batch_norm(input, mean, variance, weight, bias, self.training, momentum, self.eps)
        if self.training:
            held["running_mean"].copy_(mean[:own])
            held["running_var"].copy_(variance[:own])
            held["num_batches_tracked"].add_(1)
        return y


class EveryVoxel(torch.autograd.Function):
    """Every n-th voxel of (B, C, T, H, W) along T, H and W; gradients have channels last as well.

    PyTorch's own gradient of a slice does not keep that layout, and two tensors in different
    layouts take several times as long to add.
    """

    @staticmethod
    def forward(ctx, x, steps):
        """Keep every n-th voxel: a view."""
        ctx.steps, ctx.shape = steps, x.shape
        return _every(x, steps)

    @staticmethod
    def backward(ctx, gradient):
        """Zero for the voxels that were left out."""
        whole = torch.empty(
            ctx.shape,
            dtype=gradient.dtype,
            device=gradient.device,
            memory_format=torch.channels_last_3d,
        ).zero_()
        _every(whole, ctx.steps).copy_(gradient)
        return whole, None


def _every(x_BCTHW: Tensor, steps: tuple[int, int, int]) -> Tensor:
    along_t, along_h, along_w = steps
    return x_BCTHW[:, :, ::along_t, ::along_h, ::along_w]


def factorised(network: nn.Module) -> Iterator[tuple[nn.Sequential, int]]:
    """Where a (1, k, k) and a (k, 1, 1) convolution follow one another, as in (2+1)D layers.

    Yields:
        A sequence, and the number in it of the first of four layers: the convolution over slices,
        batch norm, rectifier, and the convolution across slices.
    """
    for sequence in network.modules():
        if not isinstance(sequence, nn.Sequential):
            continue
        layers = list(sequence)
        for first in range(len(layers) - 3):
            before, norm, activation, after = layers[first : first + 4]
            if (
                isinstance(before, nn.Conv3d)
                and isinstance(norm, nn.BatchNorm3d)
                and isinstance(activation, nn.ReLU)
                and isinstance(after, nn.Conv3d)
                and before.kernel_size[0] == 1
                and after.kernel_size[1:] == (1, 1)
                and before.bias is None
            ):
                yield sequence, first
