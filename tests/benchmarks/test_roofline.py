from __future__ import annotations

import pytest
import roofline
import torch
from torch.utils.flop_counter import FlopCounterMode

from stfmri.learning import models
from stfmri.study.config.training import ModelConfig

SHAPE = (1, 1, 8, 32, 32)


@pytest.mark.parametrize("name", ["r3d_18", "r2plus1d_18", "mc3_18"])
def test_operations_are_those_that_pytorch_counts_in_a_real_step(name: str) -> None:
    network = models.build(ModelConfig(name=name), 3, seed=0)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(2, *SHAPE[1:])).sum().backward()
    ghost = network.to("meta")
    counted = sum(one.flops for one in roofline.passes(ghost, (2, *SHAPE[1:])))
    assert counted == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_every_convolution_but_the_first_has_three_passes() -> None:
    with torch.device("meta"):
        network = models.build(ModelConfig(name="r3d_18"), 3, seed=0)
    names = [one.name for one in roofline.passes(network, SHAPE)]
    assert len(names) == len(set(names))
    assert "stem.0 weight gradient" in names
    assert "stem.0 input gradient" not in names
    assert "layer1.0.conv1.0 input gradient" in names


def test_a_pass_takes_as_long_as_the_slower_of_its_work_and_its_traffic() -> None:
    ceilings = roofline.Ceilings(flops_per_s=10, bytes_per_s=5)
    assert roofline.Pass("work", flops=100, bytes=1).seconds(ceilings) == 10
    assert roofline.Pass("traffic", flops=1, bytes=100).seconds(ceilings) == 20
