"""What only shows in bf16, and only where memory held something else before.

Of (3, 40, 36) and (4, 60, 60) oneDNN's gradients are wrong on matrix units alone.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stfmri.learning.convolutions import _as_pictures, reform


def leave_nan_in_free_memory() -> None:
    held = [torch.full((2**power,), torch.nan) for power in range(10, 23) for _ in range(4)]
    del held


def training_step(convolution: nn.Conv3d, volume: torch.Tensor, dtype: torch.dtype):
    """Output, and gradients of input and weights."""
    convolution.zero_grad()
    layer = reform(nn.Sequential(convolution))
    inputs = volume.clone(memory_format=torch.channels_last_3d).requires_grad_()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        output = layer(inputs)
    leave_nan_in_free_memory()
    torch.manual_seed(1)
    output.float().backward(torch.randn(output.shape))
    return output.detach().float(), inputs.grad.clone(), convolution.weight.grad.clone()


def check(convolution: nn.Conv3d, volume: torch.Tensor) -> None:
    exact = training_step(convolution, volume, torch.float32)
    for _ in range(3):
        for found, expected in zip(
            training_step(convolution, volume, torch.bfloat16), exact, strict=True
        ):
            assert torch.isfinite(found).all()
            assert (found - expected).norm() < 0.02 * expected.norm()


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
def test_bf16_steps_on_small_volumes_are_those_of_fp32(stride, shape):
    torch.manual_seed(0)
    convolution = nn.Conv3d(64, 64, 3, stride, 1, bias=False)
    volume = torch.randn(1, 64, *shape)
    check(convolution, volume)


@pytest.mark.parametrize(
    ("kernel", "padding"), [((3, 1, 1), (1, 0, 0)), ((1, 3, 3), (0, 1, 1)), ((3, 3, 3), (1, 1, 1))]
)
@pytest.mark.parametrize(
    "shape",
    [
        *((1, 4, 4), (2, 1, 1), (2, 8, 8), (3, 1, 5), (9, 15, 15), (3, 40, 36), (4, 60, 60)),
        *((12, 36, 40), (12, 37, 41)),  # on matrix units in longer rows
    ],
)
def test_bf16_steps_of_every_form_are_those_of_fp32(kernel, padding, shape):
    torch.manual_seed(0)
    convolution = nn.Conv3d(64, 144, kernel, 1, padding, bias=False)
    check(convolution, torch.randn(2, 64, *shape))


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((3, 7, 7), (1, 2, 2), (1, 3, 3)), ((1, 7, 7), (1, 2, 2), (0, 3, 3))],
)
def test_bf16_steps_of_first_layers_are_those_of_fp32(channels, kernel, stride, padding):
    torch.manual_seed(0)
    convolution = nn.Conv3d(channels, 45, kernel, stride, padding, bias=False)
    for shape in ((2, 12, 12), (5, 14, 12)):
        check(convolution, torch.randn(2, channels, *shape))


def test_pixels_keep_their_places_in_pictures_of_another_width() -> None:
    x = torch.randn(2, 5, 3, 4, 6).contiguous(memory_format=torch.channels_last_3d)
    y = _as_pictures(x, 2, 12)
    assert torch.equal(y.flatten(3), x.flatten(3))
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    assert y.data_ptr() == x.data_ptr()
