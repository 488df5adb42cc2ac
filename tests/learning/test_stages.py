from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from stfmri.learning import models, stages
from stfmri.study.config.training import ModelConfig, TrainConfig
from stfmri.study.errors import ConfigError


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18"])
def test_a_video_resnet_has_a_stem_four_layers_and_a_head(name: str) -> None:
    network = models.build(ModelConfig(name=name), 3, seed=0)
    found = stages.stages_of(network, "fc")
    assert [stage.name for stage in found] == [
        *("stem", "layer1", "layer2", "layer3", "layer4", "fc")
    ]
    parts = [id(item) for stage in found for item in stage.parameters()]
    assert parts == [id(item) for item in network.parameters()]


def test_single_layers_that_follow_one_another_are_one_stage() -> None:
    network = nn.Sequential()
    network.add_module("conv1", nn.Conv3d(1, 2, 3))
    network.add_module("bn1", nn.BatchNorm3d(2))
    network.add_module("relu", nn.ReLU())
    network.add_module("layer1", nn.Sequential(nn.Conv3d(2, 2, 3)))
    network.add_module("fc", nn.Linear(2, 2))
    found = stages.stages_of(network, "fc")
    assert [(stage.name, len(stage.modules)) for stage in found] == [
        *(("conv1", 2), ("layer1", 1), ("fc", 1))
    ]


def test_a_lone_child_that_holds_all_stages_is_looked_into() -> None:
    features = nn.Sequential()
    features.add_module("conv0", nn.Conv3d(1, 2, 3))
    features.add_module("norm0", nn.BatchNorm3d(2))
    features.add_module("block1", nn.Sequential(nn.Conv3d(2, 2, 3)))
    network = nn.Sequential()
    network.add_module("features", features)
    classes = nn.Sequential()
    classes.add_module("out", nn.Linear(2, 2))
    network.add_module("class_layers", classes)
    found = stages.stages_of(network, "class_layers.out")
    assert [stage.name for stage in found] == ["conv0", "block1", "class_layers"]


def test_rates_decay_from_the_head_to_the_stem() -> None:
    three = stages.stages_of(_small(), "fc")
    assert stages.rate_scales(three, 0.5) == (0.25, 0.5, 1.0)
    assert stages.rate_scales(three, 1.0) == (1.0, 1.0, 1.0)


def test_freezing_the_head_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.freeze must be at most 2"):
        stages.frozen_stages(stages.stages_of(_small(), "fc"), TrainConfig(freeze=3))


def test_frozen_stages_keep_weights_and_statistics() -> None:
    network = _small()
    frozen = stages.frozen_stages(stages.stages_of(network, "fc"), TrainConfig(freeze=1))
    stages.freeze(frozen)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(
        [item for item in network.parameters() if item.requires_grad], lr=0.1, weight_decay=0.1
    )
    network.train()
    stages.keep_frozen(frozen)
    network(torch.randn(4, 1, 5, 5, 5)).sum().backward()
    optimizer.step()
    after = network.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert not any(key.startswith("stem") for key in moved)
    assert {"layer1.0.weight", "fc.weight"} <= moved


def _small() -> nn.Sequential:
    network = nn.Sequential()
    network.add_module("stem", nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2)))
    network.add_module("layer1", nn.Sequential(nn.Conv3d(2, 2, 3), nn.AdaptiveAvgPool3d(1)))
    network.add_module("flatten", nn.Flatten())
    network.add_module("fc", nn.Linear(2, 2))
    return network


def test_options_out_of_range_are_refused() -> None:
    for changes in ({"freeze": -1}, {"layer_decay": 0.0}, {"layer_decay": 1.5}):
        with pytest.raises(ConfigError, match=f"train.{next(iter(changes))}"):
            replace(TrainConfig(), **changes)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("sfcn", ["block1", "block2", "block3", "block4", "block5", "block6", "fc"])],
)
def test_every_other_network_has_stages_too(name: str, expected: list[str]) -> None:
    model = ModelConfig(name=name)
    found = stages.stages_of(models.build(model, 3, seed=0), models.head_of(model))
    assert [stage.name for stage in found] == expected
