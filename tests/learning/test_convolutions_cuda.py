"""The forms that a GPU gets are the same arithmetic: compared on a CPU in fp64."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.video.resnet import BasicBlock, Conv2Plus1D, R2Plus1dStem, VideoResNet

from stfmri.learning import models
from stfmri.learning.convolutions import WideNorm, cpu, cuda, reform
from stfmri.study.config.training import ModelConfig

VIDEO = ("r3d_18", "mc3_18", "r2plus1d_18")
EXACT = 1e-13  # relative, in fp64
# Channels of the input, so that each form is chosen.
FEW = {cuda.TapConvolution: 1}
DEVICES = {"cpu": cpu.SliceConvolution, "cuda": cuda.SliceConvolution, "mps": nn.Conv3d}
EACH = {
    "slices": replace(cuda.PLAIN, slices=True),
    "across": replace(cuda.PLAIN, across=True),
    "points": replace(cuda.PLAIN, points=True),
    "taps": replace(cuda.PLAIN, taps=True),
    "padded": replace(cuda.PLAIN, pad=8),
}


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def step(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, gradient of the input, gradients of the parameters."""
    x = x.clone(memory_format=torch.channels_last_3d).requires_grad_()
    y = layer(x)
    generator = torch.Generator().manual_seed(1)
    y.backward(torch.randn(y.shape, generator=generator, dtype=y.dtype))
    return [y.detach(), x.grad, *(weight.grad for weight in layer.parameters())]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("slices", [1, 2, 5])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "form"),
    [
        ((1, 7, 7), (1, 2, 2), (0, 3, 3), cuda.SliceConvolution),
        ((1, 3, 3), (1, 1, 1), (0, 1, 1), cuda.SliceConvolution),
        ((1, 3, 3), (1, 2, 2), (0, 1, 1), cuda.SliceConvolution),
        ((3, 1, 1), (1, 1, 1), (1, 0, 0), cuda.AcrossConvolution),
        ((3, 1, 1), (2, 1, 1), (1, 0, 0), cuda.AcrossConvolution),
        ((1, 1, 1), (1, 1, 1), (0, 0, 0), cuda.PointConvolution),
        ((1, 1, 1), (1, 2, 2), (0, 0, 0), cuda.PointConvolution),
        ((1, 1, 1), (2, 2, 2), (0, 0, 0), cuda.PointConvolution),
        ((3, 7, 7), (1, 2, 2), (1, 3, 3), cuda.TapConvolution),
        ((1, 7, 7), (1, 2, 2), (0, 3, 3), cuda.TapConvolution),
    ],
)
def test_each_form_is_the_same_convolution(
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    padding: tuple[int, int, int],
    form: type[nn.Module],
    slices: int,
    batch: int,
    bias: bool,
) -> None:
    torch.manual_seed(0)
    channels = FEW.get(form, 8)
    plain = nn.Conv3d(channels, 10, kernel, stride, padding, bias=bias).double()
    plain.to(memory_format=torch.channels_last_3d)
    formed = cuda.reform(nn.Sequential(copy.deepcopy(plain)), cuda.EVERY)
    assert type(formed[0]) is form
    x = torch.randn(batch, channels, slices, 8, 7, dtype=torch.float64)
    for ours, theirs in zip(step(formed, x), step(plain, x), strict=True):
        assert relative(ours, theirs) < EXACT


def assert_same_steps(plain: nn.Module, forms: cuda.Forms, channels: int = 1) -> None:
    plain = plain.double().to(memory_format=torch.channels_last_3d)
    formed = cuda.reform(copy.deepcopy(plain), forms)
    assert list(plain.state_dict()) == list(formed.state_dict())
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(2, channels, 5, 16, 18, generator=generator).double()
    for ours, theirs in zip(step(formed, volume), step(plain, volume), strict=True):
        assert relative(ours, theirs) < 1e-11  # 35 layers and their norms of few values
    for ours, theirs in zip(formed.buffers(), plain.buffers(), strict=True):
        assert relative(ours.double(), theirs.double()) < 1e-12


@pytest.mark.parametrize("forms", [cuda.Forms(), cuda.EVERY], ids=["default", "every"])
@pytest.mark.parametrize("name", VIDEO)
def test_a_reformed_network_takes_the_same_step(name: str, forms: cuda.Forms) -> None:
    channels = 2 if name == "mc3_18" else 1
    plain = models.build(ModelConfig(name=name, dropout=0), 3, seed=0, channels=channels)
    assert_same_steps(plain, forms, channels)


@pytest.mark.parametrize("forms", EACH.values(), ids=EACH)
def test_each_form_by_itself_takes_the_same_step(forms: cuda.Forms) -> None:
    torch.manual_seed(0)
    shallow = VideoResNet(BasicBlock, [Conv2Plus1D] * 4, [1] * 4, R2Plus1dStem, num_classes=3)
    assert_same_steps(shallow, forms, channels=3)


def test_middle_channels_become_multiples_of_eight() -> None:
    network = cuda.reform(models.build(ModelConfig(name="r2plus1d_18"), 3, seed=0))
    seen = [
        (module.weight.shape[0], module.weight.shape[0] + module.extra_outputs)
        for module in network.modules()
        if isinstance(module, cuda.SameWeights) and module.extra_outputs
    ]
    assert seen == [
        (45, 48),
        (230, 232),
        (230, 232),
        (460, 464),
        (460, 464),
        (921, 928),
        (921, 928),
    ]
    assert sum(isinstance(module, WideNorm) for module in network.modules()) == len(seen)


@pytest.mark.parametrize("name", VIDEO)
def test_no_form_copies_its_input(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `conv2d` is given lies where the layer's input lies, unless a stride drops voxels."""
    seen: list[tuple[int, bool]] = []
    real = torch.nn.functional.conv2d

    def watched(x: Tensor, *arguments: object) -> Tensor:
        seen.append((x.data_ptr(), x.is_contiguous(memory_format=torch.channels_last)))
        return real(x, *arguments)

    monkeypatch.setattr("stfmri.learning.convolutions.cuda.F.conv2d", watched)
    network = cuda.reform(models.build(ModelConfig(name=name), 3, seed=0), cuda.EVERY)
    network.to(memory_format=torch.channels_last_3d)
    checked = []

    def check(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        pointer, is_last = seen.pop()
        assert is_last
        assert output.is_contiguous(memory_format=torch.channels_last_3d)
        if not isinstance(module, cuda.PointConvolution):
            assert pointer == inputs[0].data_ptr()
            checked.append(module)

    # Taps, of the small data, are copied
    forms = (cuda.SliceConvolution, cuda.AcrossConvolution, cuda.PointConvolution)
    formed = [module for module in network.modules() if isinstance(module, forms)]
    for module in formed:
        module.register_forward_hook(check)
    x = torch.randn(2, 1, 4, 16, 16)
    network(x.contiguous(memory_format=torch.channels_last_3d)).sum().backward()
    assert len(checked) >= (0 if name == "r3d_18" else 3)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("width", [5, 6, 9])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (2, 2, 0), (5, 3, 2)])
def test_taps_become_channels_for_any_few_channels_kernel_and_stride(
    kernel: int, stride: int, padding: int, width: int, channels: int
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv3d(channels, 6, kernel, stride, padding).double()
    formed = cuda.reform(nn.Sequential(copy.deepcopy(plain)), cuda.EVERY)
    assert type(formed[0]) is cuda.TapConvolution
    x = torch.randn(2, channels, 5, 6, width, dtype=torch.float64)
    for ours, theirs in zip(step(formed, x), step(plain, x), strict=True):
        assert relative(ours, theirs) < EXACT


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv3d(8, 8, (1, 3, 3), padding=(0, 1, 1), groups=2),
        nn.Conv3d(8, 8, (3, 1, 1), dilation=(2, 1, 1)),
        nn.Conv3d(8, 8, (1, 3, 3), padding=(0, 1, 1), padding_mode="circular"),
        nn.Conv3d(8, 8, 3, padding=1),
        nn.Conv3d(8, 8, (1, 3, 3), stride=(2, 1, 1)),
        nn.Conv3d(8, 8, 1, padding=1),
    ],
)
def test_what_is_no_plain_convolution_of_one_plane_stays(convolution: nn.Conv3d) -> None:
    assert cuda.reform(nn.Sequential(convolution))[0] is convolution


def test_each_device_gets_its_own_forms_and_an_unknown_one_none() -> None:
    given = [reform(nn.Sequential(nn.Conv3d(8, 8, (1, 3, 3))), kind)[0] for kind in DEVICES]
    assert [type(convolution) for convolution in given] == list(DEVICES.values())
