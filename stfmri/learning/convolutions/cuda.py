"""The forms of a convolution that a GPU's matrix units (tensor cores) take well.

Matrix units take channels in groups of eight. Other numbers of channels between the two
convolutions of a (2+1)D layer are rounded up by zero weights, and the data's one channel becomes
eight: those of its neighbours along a row, which a convolution would multiply anyway.

A volume in channels-last layout is, without a copy, a stack of pictures in channels-last layout, or
one tall picture whose rows are slices. So (1, k, k), (k, 1, 1) and 1×1×1 convolutions can be given
to cuDNN as 2-D ones. On an H200 with cuDNN 9.19 that helps the first of them a little and the
others not at all: (3, 1, 1) takes two to four times as long. So only the first is on by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stfmri.learning.convolutions.shared import EveryVoxel, SameWeights, WideNorm, factorised

GROUP = 8  # channels that matrix units take together in half precision


@dataclass(frozen=True)
class Forms:
    """Which convolutions take another form. Each can be switched by itself, to be measured.

    Attributes:
        slices: (1, k, k) as a 2-D convolution of B·T pictures.
        across: (k, 1, 1) as a 2-D convolution of B pictures of T rows and H·W columns.
        points: 1×1×1 as a 2-D convolution, of the voxels that its stride leaves.
        taps: of fewer than eight channels, with the kernel's width turned into channels.
        pad: channels in the middle of a (2+1)D layer become a multiple of this; 1 leaves them.
    """

    slices: bool = True
    across: bool = False
    points: bool = False
    taps: bool = True
    pad: int = GROUP


PLAIN = Forms(slices=False, taps=False, pad=1)
EVERY = Forms(across=True, points=True)


def reform(network: nn.Module, forms: Forms | None = None) -> nn.Module:
    """Swap the convolutions of a network for other forms, in place.

    The new modules hold the very same parameters under the same names.

    Args:
        forms: which of them; default: those that pay.
    """
    forms = forms or Forms()
    _widen(network, forms.pad)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv3d) and (form := _form(child, forms)) is not None:
                setattr(parent, name, form(child))
    return network


def _form(module: nn.Conv3d, forms: Forms) -> type[SameWeights] | None:
    if module.groups != 1 or module.dilation != (1, 1, 1) or module.padding_mode != "zeros":
        return None
    kernel, padding = module.kernel_size, module.padding
    if forms.taps and module.in_channels < GROUP and kernel[2] > 1:
        return TapConvolution
    if kernel == (1, 1, 1):
        return PointConvolution if forms.points and padding == (0, 0, 0) else None
    if kernel[0] == 1:
        plain = module.stride[0] == 1 and padding[0] == 0
        return SliceConvolution if forms.slices and plain else None
    if kernel[1:] == (1, 1):
        plain = module.stride[1:] == (1, 1) and padding[1:] == (0, 0)
        return AcrossConvolution if forms.across and plain else None
    return None


def _widen(network: nn.Module, multiple: int) -> None:
    """Round up the channels between a convolution of slices and the one across them."""
    for sequence, first in factorised(network):
        norm = cast("nn.BatchNorm3d", sequence[first + 1])
        extra = -norm.num_features % multiple
        if extra and not isinstance(norm, WideNorm):
            before, after = (VolumeConvolution(sequence[first + add]) for add in (0, 3))
            before.extra_outputs = after.extra_inputs = extra
            sequence[first], sequence[first + 3] = before, after
            sequence[first + 1] = WideNorm(norm)


def as_pictures(x_BCTHW: Tensor) -> Tensor:
    """Every slice of every volume as a picture, (B·T, C, H, W), channels last."""
    return x_BCTHW.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)


def as_volumes(x_NCHW: Tensor, batch: int) -> Tensor:
    """Pictures as the slices of B volumes, (B, C, T, H, W), channels last."""
    return x_NCHW.permute(0, 2, 3, 1).unflatten(0, (batch, -1)).permute(0, 4, 1, 2, 3)


def as_rows(x_BCTHW: Tensor) -> Tensor:
    """Every volume as one picture whose rows are its slices, (B, C, T, H·W), channels last.

    By way of (B, T, H, W, C), where all axes are in their order: else PyTorch gives a batch of one
    a stride that hides from cuDNN's batch norm that its channels are last.
    """
    return x_BCTHW.permute(0, 2, 3, 4, 1).flatten(2, 3).permute(0, 3, 1, 2)


def from_rows(x_BCTP: Tensor, shape_HW: torch.Size) -> Tensor:
    """The inverse of `as_rows`, (B, C, T, H, W), channels last."""
    return x_BCTP.permute(0, 2, 3, 1).unflatten(2, shape_HW).permute(0, 4, 1, 2, 3)


class VolumeConvolution(SameWeights):
    """A 3-D convolution, with channels beyond its weights where there are any."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, C', T', H', W')."""
        return self._conv_forward(input, self.widened(), self.bias)


class SliceConvolution(SameWeights):
    """A (1, k, k) convolution as a 2-D one of all slices of all volumes."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, C', T, H', W')."""
        weight = self.widened().squeeze(2)
        y_NCHW = F.conv2d(as_pictures(input), weight, self.bias, self.stride[1:], self.padding[1:])
        return as_volumes(y_NCHW, input.shape[0])


class AcrossConvolution(SameWeights):
    """A (k, 1, 1) convolution as a 2-D one of pictures whose rows are slices."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, C', T', H, W)."""
        weight = self.widened().squeeze(4)
        stride = (self.stride[0], 1)
        padding = (cast("tuple[int, int, int]", self.padding)[0], 0)
        y_BCTP = F.conv2d(as_rows(input), weight, self.bias, stride, padding)
        return from_rows(y_BCTP, input.shape[3:])


class PointConvolution(SameWeights):
    """A 1×1×1 convolution as a 2-D one without stride, of the voxels that its stride leaves."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, C', T', H', W')."""
        stride = self.stride
        if stride != (1, 1, 1):
            left = EveryVoxel.apply(input, stride)
            input = left.contiguous(memory_format=torch.channels_last_3d)
        y_NCHW = F.conv2d(as_pictures(input), self.widened().squeeze(2), self.bias)
        return as_volumes(y_NCHW, input.shape[0])


class TapConvolution(SameWeights):
    """A convolution of few channels, each voxel's neighbours along its row taken as channels.

    Seven taps of one channel are eight channels of one tap, the eighth with zero weights.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, C', T', H', W')."""
        device = input.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            input = input.to(torch.get_autocast_dtype(device))
        channels, width = input.shape[1], self.kernel_size[2]
        taps = width + -width % (GROUP // gcd(GROUP, channels))
        x_BCTHW = self._neighbours(input, taps)
        weight_OCTHW = F.pad(self.widened(), (0, taps - width))
        weight = weight_OCTHW.permute(0, 1, 4, 2, 3).flatten(1, 2).unsqueeze(4)
        weight = weight.contiguous(memory_format=torch.channels_last_3d)
        stride = (*self.stride[:2], 1)
        padding = (*cast("tuple[int, int, int]", self.padding)[:2], 0)
        return F.conv3d(x_BCTHW, weight, self.bias, stride, padding)

    def _neighbours(self, x_BCTHW: Tensor, taps: int) -> Tensor:
        """What the kernel meets along a row, as channels: (B, C·taps, T, H, W'), channels last."""
        before = cast("tuple[int, int, int]", self.padding)[2]
        step, width = self.stride[2], x_BCTHW.shape[4]
        places = (width + 2 * before - self.kernel_size[2]) // step + 1
        after = (places - 1) * step + taps - width - before
        x_BCTHPK = F.pad(x_BCTHW, (before, after)).unfold(4, taps, step)
        x_BTHPK = x_BCTHPK.permute(0, 2, 3, 4, 1, 5).flatten(4).contiguous()
        return x_BTHPK.permute(0, 4, 1, 2, 3)
