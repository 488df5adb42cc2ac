"""The same networks, their convolutions run in the form that a CPU does fastest.

Weights, checkpoints and results stay what they are: only the arithmetic's order changes. In the
channels-last layout a volume's slices are contiguous pictures, so

- a (1, k, k) convolution is a 2-D convolution over B·T pictures,
- a strided 1×1×1 convolution is a 2-D one over every s-th picture,
- the weight gradient of a (3, 1, 1) convolution is three matrix products, but for bf16 on a
  processor with matrix units (AMX): there oneDNN's own is faster, and large pictures are given to
  it in longer rows, which it does faster; the convolution does not see where a row ends,
- between the two convolutions of a (2+1)D block, channels that do not fill whole vectors are
  rounded up by zero weights: batch norm of 48 channels takes a third of the time that 45 take. What
  is added is zero, after batch norm as well, and so are its gradients.

Every gradient stays in that layout: PyTorch's own gradient of "every s-th picture" does not, and
two tensors in different layouts take several times as long to add. ReLUs do not work in place,
which on a CPU is slower than writing anew and saves nothing: what they would overwrite is freed.

See benchmarks/RESULTS.md for what each form gains. Where oneDNN's bf16 weight gradient is wrong, a
convolution over slices runs in float32 instead, or in the matrix products above.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stfmri.learning import device
from stfmri.learning.convolutions.shared import EveryVoxel, SameWeights, WideNorm, factorised

VECTOR = 16  # channels
WIDE = 256  # channels: from there on volumes are small, and to copy the weights costs what it gains
LONGEST_ROW = 1024  # pixels
PLANE = 2**17  # values of a convolution's input and output: more need several slices


def reform(network: nn.Module) -> nn.Module:
    """Swap the layers of a network for their faster forms, in place.

    The new modules hold the very same parameters under the same names.
    """
    for parent in list(network.modules()):
        if isinstance(parent, nn.ReLU):
            parent.inplace = False
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv3d) and (form := _form(child)) is not None:
                setattr(parent, name, form(child))
    _widen(network)
    return network


def _widen(network: nn.Module) -> None:
    """Round up the channels between a convolution of slices and the one across them."""
    for sequence, first in factorised(network):
        before, norm, _, after = list(sequence)[first : first + 4]
        if (
            isinstance(before, SliceConvolution)
            and isinstance(after, SameWeights)
            and before.out_channels < WIDE
            and before.out_channels % VECTOR
        ):
            before.extra_outputs = after.extra_inputs = -before.out_channels % VECTOR
            sequence[first + 1] = WideNorm(norm)


def _form(module: nn.Conv3d) -> type[SameWeights] | None:
    # torchvision's own subclasses of Conv3d all keep its forward.
    if isinstance(module, SameWeights):
        return None
    if module.kernel_size[0] == 1 and module.padding[0] == 0:
        return SliceConvolution
    plain = module.stride == (1, 1, 1) and module.padding == (1, 0, 0)
    if module.kernel_size == (3, 1, 1) and plain:
        return AcrossSlices
    return VolumeConvolution if module.kernel_size[0] >= 3 else None


class SliceConvolution(SameWeights):
    """A (1, k, k) convolution as a 2-D one over all slices of all volumes."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, C', T', H', W')."""
        every = self.stride[0]
        x_BCTHW = EveryVoxel.apply(input, (every, 1, 1)) if every > 1 else input
        batch, channels, slices, height, width = x_BCTHW.shape
        pictures = x_BCTHW.transpose(1, 2).reshape(batch * slices, channels, height, width)
        y = F.conv2d(
            pictures, self.widened().squeeze(2), self.bias, self.stride[1:], self.padding[1:]
        )
        y_BCTHW = y.unflatten(0, (batch, slices)).transpose(1, 2)
        layout = torch.channels_last_3d
        # With a single slice its stride says nothing, and PyTorch's batch norm, given such strides
        # beside a gradient in another layout, returns wrong gradients: a copy has sound ones.
        # Otherwise oneDNN has answered in this layout already, and nothing is copied.
        if slices == 1:
            return y_BCTHW.clone(memory_format=layout)
        return y_BCTHW.contiguous(memory_format=layout)


class VolumeConvolution(SameWeights):
    """A convolution over slices that leaves bf16 where oneDNN's weight gradient is wrong in it."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, C', T', H', W')."""
        if _is_sound(self, input):
            return self._conv_forward(input, self.widened(), self.bias)
        with torch.autocast(input.device.type, enabled=False):
            return self._conv_forward(input.to(self.weight.dtype), self.widened(), self.bias)


def _is_sound(convolution: nn.Conv3d, x_BCTHW: Tensor) -> bool:
    """Whether oneDNN's bf16 weight gradient of this convolution over slices can be relied on.

    Of two slices, or of planes one voxel wide, it takes in memory that was never written: it is
    NaN, or far off (seen with PyTorch 2.11 on AVX-512, kernels of three slices; larger ones are not
    trusted with fewer slices than they have either). On matrix units (AMX) the same holds for
    few slices of large planes, of which the largest end or hang the process. Planes of up to 2¹⁷
    values of input and output were right there with three slices, larger ones from about 4 + n
    slices on, where n times 2¹⁸ values make a plane; twice as many are asked for here. Strided
    convolutions, of which fewer shapes were seen to fail, are held to the same.
    """
    slices, height, width = x_BCTHW.shape[2:]
    if slices < convolution.kernel_size[0] or min(height, width) == 1:
        return False
    plane = height * width * (x_BCTHW.shape[1] + convolution.out_channels)
    output = (slices - 1) // convolution.stride[0] + 1
    few = plane > PLANE and output < 8 + plane / PLANE
    return not (few and device.has_matrix_units())


def _as_pictures(x_BCTHW: Tensor, height: int, width: int) -> Tensor:
    """The same pixels as pictures of another height and width, channels last."""
    x_BTHWC = x_BCTHW.permute(0, 2, 3, 4, 1)
    return x_BTHWC.reshape(*x_BTHWC.shape[:2], height, width, -1).permute(0, 4, 1, 2, 3)


class AcrossSlices(SameWeights):
    """A (3, 1, 1) convolution: its weight gradient as matrix products, or its pictures in rows."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, C', T, H, W)."""
        weight = self.widened()
        if torch.is_autocast_enabled(input.device.type):
            dtype = torch.get_autocast_dtype(input.device.type)
            suited = dtype == torch.bfloat16 and device.has_matrix_units()
            if suited and _is_sound(self, input):
                return self._in_long_rows(input, weight)
            input, weight = input.to(dtype), weight.to(dtype)
        with torch.autocast(input.device.type, enabled=False):
            return _AcrossSlices.apply(input, weight)

    def _in_long_rows(self, input: Tensor, weight: Tensor) -> Tensor:
        height, width = input.shape[3:]
        pixels = height * width
        if pixels <= LONGEST_ROW:
            return self._conv_forward(input, weight, self.bias)
        row = max(n for n in range(1, LONGEST_ROW + 1) if pixels % n == 0)
        rows = _as_pictures(input, pixels // row, row)
        return _as_pictures(self._conv_forward(rows, weight, self.bias), height, width)


class _AcrossSlices(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return F.conv3d(x, weight, padding=(1, 0, 0))

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        arguments = (None, (1, 1, 1), (1, 0, 0), (1, 1, 1), False, (0, 0, 0), 1)
        to_input = None
        if ctx.needs_input_grad[0]:
            to_input = torch.ops.aten.convolution_backward(
                gradient, x, weight, *arguments, (True, False, False)
            )[0]
        x_BTPC = x.permute(0, 2, 3, 4, 1).flatten(2, 3)
        g_BTPC = gradient.permute(0, 2, 3, 4, 1).flatten(2, 3)
        slices = x.shape[2]
        taps = []
        for tap in (-1, 0, 1):  # output slice t takes input slice t + tap
            first, last = max(0, -tap), slices - max(0, tap)
            taps.append(
                sum(
                    g[first:last].flatten(0, 1).t() @ x_[first + tap : last + tap].flatten(0, 1)
                    for g, x_ in zip(g_BTPC, x_BTPC, strict=True)
                )
            )
        return to_input, torch.stack(taps, dim=2)[..., None, None]
