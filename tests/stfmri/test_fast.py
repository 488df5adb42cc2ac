"""What only shows in bf16, and only where memory held something else before.

Of (3, 40, 36) and (4, 60, 60) oneDNN's gradients are wrong on matrix units alone.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stfmri.fast import reform


def leave_nan_in_free_memory() -> None:
    held = [torch.full((2**power,), torch.nan) for power in range(10, 23) for _ in range(4)]
    del held


def weight_gradient(convolution: nn.Conv3d, volume: torch.Tensor, dtype: torch.dtype):
    convolution.zero_grad()
    layer = reform(nn.Sequential(convolution))
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        output = layer(volume.contiguous(memory_format=torch.channels_last_3d))
    leave_nan_in_free_memory()
    torch.manual_seed(1)
    output.float().backward(torch.randn(output.shape))
    return convolution.weight.grad.clone()


def check_weight_gradient(convolution: nn.Conv3d, volume: torch.Tensor) -> None:
    exact = weight_gradient(convolution, volume, torch.float32)
    for _ in range(3):
        found = weight_gradient(convolution, volume, torch.bfloat16)
        assert torch.isfinite(found).all()
        assert (found - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize(
    ("stride", "shape"),
    [
        (1, (2, 2, 2)),
        (1, (2, 3, 3)),
        (1, (2, 8, 8)),
        (2, (4, 1, 1)),
        (2, (1, 1, 1)),
        (1, (3, 4, 4)),
    ],
)
def test_bf16_weight_gradients_of_small_volumes_are_those_of_fp32(stride, shape):
    torch.manual_seed(0)
    convolution = nn.Conv3d(64, 64, 3, stride, 1, bias=False)
    volume = torch.randn(1, 64, *shape)
    check_weight_gradient(convolution, volume)


@pytest.mark.parametrize(
    ("kernel", "padding"), [((3, 1, 1), (1, 0, 0)), ((1, 3, 3), (0, 1, 1)), ((3, 3, 3), (1, 1, 1))]
)
@pytest.mark.parametrize(
    "shape", [(1, 4, 4), (2, 1, 1), (2, 8, 8), (3, 1, 5), (9, 15, 15), (3, 40, 36), (4, 60, 60)]
)
def test_bf16_weight_gradients_of_every_form_are_those_of_fp32(kernel, padding, shape):
    torch.manual_seed(0)
    convolution = nn.Conv3d(64, 144, kernel, 1, padding, bias=False)
    check_weight_gradient(convolution, torch.randn(2, 64, *shape))
