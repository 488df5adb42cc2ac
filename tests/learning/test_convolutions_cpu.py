"""The same networks in the forms that a CPU does fastest: the same step, in fp64, fp32 and bf16.

What is wrong in bf16 shows only where memory held something else before. Of (3, 40, 36) and
(4, 60, 60) oneDNN's gradients are wrong on matrix units alone.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from stfmri.learning import models
from stfmri.learning.convolutions import WideNorm, reform
from stfmri.learning.convolutions.cpu import _as_pictures
from stfmri.study.config.training import ModelConfig
from tests.conftest import need_library


@pytest.mark.parametrize(
    ("name", "channels"),
    [*((name, 1) for name in models.NETWORKS), ("r2plus1d_18", 2), ("sfcn", 2)],
)
def test_a_reformed_network_computes_the_same_training_step(name: str, channels: int) -> None:
    """Compared in fp64: in fp32 the last bits of a sum decide which rectifiers open, so that plain
    torchvision's own gradients move by 1e-2 when nothing but the number of threads changes."""
    generator = torch.Generator().manual_seed(0)
    need_library(name)
    volume = torch.randn(2, channels, 7, 20, 18, generator=generator).double()
    model = ModelConfig(name=name, dropout=0)
    plain = models.build(model, 3, seed=0, channels=channels).double()
    formed = reform(models.build(model, 3, seed=0, channels=channels)).double()
    assert list(plain.state_dict()) == list(formed.state_dict())
    widened = [norm.num_features for norm in formed.modules() if isinstance(norm, WideNorm)]
    assert widened == ([45, 230, 230] if name == "r2plus1d_18" else [])
    outputs = []
    for network, layout in ((plain, torch.contiguous_format), (formed, torch.channels_last_3d)):
        network.to(memory_format=layout)
        outputs.append(network(volume.contiguous(memory_format=layout)))
        outputs[-1].square().sum().backward()
    assert _relative(outputs[1], outputs[0]) < 1e-10
    # Of a bias before batch norm the gradient is zero but for rounding: held to the largest.
    largest = max(weight.grad.norm() for weight in plain.parameters())
    for (key, ours), (_, theirs) in zip(
        formed.named_parameters(), plain.named_parameters(), strict=True
    ):
        rounding = 1e-12 * largest
        assert (ours.grad - theirs.grad).norm() < 1e-10 * theirs.grad.norm() + rounding, key
    for (key, ours), (_, theirs) in zip(formed.named_buffers(), plain.named_buffers(), strict=True):
        assert _relative(ours.double(), theirs.double()) < 1e-10, key
    with torch.inference_mode():
        assert _relative(formed.eval()(volume), plain.eval()(volume)) < 1e-10


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        ((1, 7, 7), (1, 2, 2), (0, 3, 3)),
        ((1, 3, 3), (1, 1, 1), (0, 1, 1)),
        ((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        ((1, 1, 1), (2, 2, 2), (0, 0, 0)),
        ((1, 1, 1), (1, 2, 2), (0, 0, 0)),
        ((3, 1, 1), (1, 1, 1), (1, 0, 0)),
        ((3, 1, 1), (2, 1, 1), (1, 0, 0)),
    ],
)
@pytest.mark.parametrize("slices", [1, 2, 9])
def test_each_reformed_convolution_agrees_in_fp32(
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    padding: tuple[int, int, int],
    slices: int,
) -> None:
    generator = torch.Generator().manual_seed(0)
    plain = torch.nn.Conv3d(16, 24, kernel, stride, padding, bias=False)
    formed = reform(torch.nn.Sequential(copy.deepcopy(plain)))
    x = torch.randn(2, 16, slices, 12, 10, generator=generator)
    x_plain = x.clone().requires_grad_()
    x_formed = x.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    y_plain, y_formed = plain(x_plain), formed(x_formed)
    gradient = torch.randn(y_plain.shape, generator=generator)
    y_plain.backward(gradient)
    y_formed.backward(gradient.contiguous(memory_format=torch.channels_last_3d))
    assert _relative(y_formed, y_plain) < 1e-5
    assert _relative(x_formed.grad, x_plain.grad) < 1e-5
    assert _relative(next(formed.parameters()).grad, plain.weight.grad) < 1e-5


def _relative(ours: torch.Tensor | None, theirs: torch.Tensor | None) -> float:
    assert ours is not None
    assert theirs is not None
    return float(((ours - theirs).norm() / theirs.norm()).detach())


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


# oneDNN multiplies in bf16 from AVX-512 on, and what it does wrong depends on channels and on what
# memory holds, so it is asked several times, with as many channels as ResNets have. Elsewhere
# PyTorch's own loops take over: slow, and always alike.
ONEDNN = bool(torch.cpu.get_capabilities().get("avx512_f"))
TIMES = 3 if ONEDNN else 1


def check(convolution: nn.Conv3d, volume: torch.Tensor) -> None:
    exact = training_step(convolution, volume, torch.float32)
    for _ in range(TIMES):
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
    before, after = (64, 144) if ONEDNN else (16, 48)
    convolution = nn.Conv3d(before, after, kernel, 1, padding, bias=False)
    check(convolution, torch.randn(2, before, *shape))


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        ((3, 7, 7), (1, 2, 2), (1, 3, 3)),
        ((1, 7, 7), (1, 2, 2), (0, 3, 3)),
        ((7, 7, 7), (1, 1, 1), (3, 3, 3)),
        ((7, 7, 7), (2, 2, 2), (3, 3, 3)),
    ],
)
def test_bf16_steps_of_first_layers_are_those_of_fp32(channels, kernel, stride, padding):
    torch.manual_seed(0)
    convolution = nn.Conv3d(channels, 45, kernel, stride, padding, bias=False)
    for shape in ((2, 12, 12), (5, 14, 12), (9, 10, 12)):
        check(convolution, torch.randn(2, channels, *shape))


def test_pixels_keep_their_places_in_pictures_of_another_width() -> None:
    x = torch.randn(2, 5, 3, 4, 6).contiguous(memory_format=torch.channels_last_3d)
    y = _as_pictures(x, 2, 12)
    assert torch.equal(y.flatten(3), x.flatten(3))
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    assert y.data_ptr() == x.data_ptr()
