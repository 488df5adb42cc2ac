"""Batch norm, sum and rectifier in one pass: the same figures as PyTorch's layers."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.video.resnet import BasicBlock, Conv2Plus1D, R2Plus1dStem, VideoResNet

from stfmri.learning import models
from stfmri.learning.convolutions import reform
from stfmri.learning.fused_norm import FusedNorm, fuse, why_not
from stfmri.study.config.training import ModelConfig
from tests.conftest import skip_or_fail

HERE = Path(__file__).parent
ROUNDING = {"fp32": 2e-6, "fp16": 5e-4, "bf16": 8e-3}  # of one result, relative to the largest
SUMS = 2e-6  # float32, whatever the activations are
OF_ACTIVATIONS = ("output", "gradient", "gradient of the residual")


def results_of(script: str, *arguments: str, **environment: str) -> list[dict[str, Any]]:
    if find_spec("triton") is None:
        skip_or_fail("Triton comes with PyTorch for CUDA alone")
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1]), **environment},
    )
    if "Failed to find C compiler" in done.stderr:
        skip_or_fail("Triton needs a C compiler")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_values_and_gradients_are_those_of_the_plain_layers_in_fp64() -> None:
    results = results_of("interpreted_norm.py", TRITON_INTERPRET="1")
    assert {result["kind"] for result in results} == {"plain", "relu", "residual"}
    for result in results:
        what = f"{result['case']}, {result['kind']}, {result['dtype']}"
        errors = result["errors"]
        assert errors.pop("closed rectifiers") < 0.001, what
        for name, error in errors.items():
            allowed = ROUNDING[result["dtype"]] if name in OF_ACTIVATIONS else SUMS
            assert error <= allowed, f"{what}: {name} is {error:.1e} off"


def test_kernels_compile_for_an_h100_and_move_16_bytes_at_a_time(tmp_path: Path) -> None:
    results = results_of("compiled_norm.py", "90", "fp16", TRITON_CACHE_DIR=str(tmp_path))
    assert len(results) == 11
    for result in results:
        assert result["local"] == 0, f"{result['kernel']} spills registers"
        assert result["wide loads"] >= 2, result["kernel"]
        writes = result["kernel"] in ("normalise", "gradients")
        assert not writes or result["wide stores"] >= 2, result["kernel"]


def shallow() -> nn.Module:
    torch.manual_seed(0)
    return VideoResNet(BasicBlock, [Conv2Plus1D] * 4, [1] * 4, R2Plus1dStem, num_classes=3)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_off_a_gpu_a_fused_network_is_the_plain_one(padded: bool, training: bool) -> None:
    plain = shallow().double()
    fused = copy.deepcopy(plain)
    fused = fuse(reform(fused, "cuda") if padded else fused)
    assert list(fused.state_dict()) == list(plain.state_dict())
    x = torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    outputs: list[Tensor] = []
    for network in (plain, fused):
        network.train(training)
        outputs.append(network(x))
        outputs[-1].square().sum().backward()
    # The last norms are of two values a channel, which enlarges rounding
    assert relative(outputs[1], outputs[0]) < 1e-9
    for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
        assert relative(ours.grad, theirs.grad) < 1e-8
    for ours, theirs in zip(fused.buffers(), plain.buffers(), strict=True):
        assert (ours.double() - theirs.double()).norm() <= 1e-9 * theirs.double().norm()


def relative(ours: Tensor | None, theirs: Tensor | None) -> float:
    assert ours is not None
    assert theirs is not None
    return float(((ours - theirs).norm() / theirs.norm()).detach())


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18"])
def test_every_norm_of_a_video_network_is_fused_and_every_rectifier_goes_with_one(
    name: str,
) -> None:
    with torch.device("meta"):
        network = models.build(ModelConfig(name=name), 3, seed=0)
    norms = sum(isinstance(module, nn.BatchNorm3d) for module in network.modules())
    fused = fuse(network)
    layers = [module for module in fused.modules() if isinstance(module, FusedNorm)]
    assert len(layers) == norms
    assert not [
        module
        for part in fused.modules()
        if isinstance(part, nn.Sequential)
        for module in part
        if isinstance(module, nn.ReLU)
    ]
    # The last norm of each block has the sum's rectifier, that of a shortcut has none
    assert sum(not layer.relu for layer in layers) == 8 + 3


def test_without_a_gpu_it_is_said_why() -> None:
    assert "CUDA" in why_not(torch.device("cpu"))
