"""The configuration's dataclasses and their YAML."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stfmri.study.config import Config, load, save
from stfmri.study.config.data import DataConfig, PreprocessingConfig
from stfmri.study.config.split import SplitConfig
from stfmri.study.config.sweep import StageResources, SweepConfig
from stfmri.study.config.training import AugmentConfig, ModelConfig
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.overrides import flatten, replaced
from stfmri.study.serialise import from_dict, to_dict


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    config = Config(
        root="/größe (1)/a b",
        data=DataConfig(classes=("LGG", "HGG"), table="/x/c.csv"),
        model=ModelConfig(weights="kinetics", weights_name="r3d_18-b3b3357e.pth"),
        sweep=SweepConfig(axes={"train.learning_rate": (1e-5, 3), "augment": ("light", "none")}),
    )
    save(config, tmp_path / "config.yaml")
    assert load(tmp_path / "config.yaml") == config


def test_grids_are_those_that_the_design_names() -> None:
    assert PreprocessingConfig().shape == (78, 120, 120)
    assert PreprocessingConfig(spacing_mm=4).shape == (39, 60, 60)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"train": {"epoch": 3}}, "did you mean train.epochs?"),
        ({"train": {"epochs": "3"}}, "train.epochs must be a whole number"),
        ({"train": {"epochs": True}}, "train.epochs must be a whole number"),
        ({"train": 3}, "train must be a mapping"),
        ({"augment": {"scale": [1]}}, "augment.scale takes 2 values"),
        ({"data": {"classes": "LGG"}}, "data.classes must be a list"),
    ],
)
def test_a_wrong_key_or_type_is_named_with_its_file(values: dict, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(Config, values, file="some.yaml")
    assert says in str(caught.value)
    assert "some.yaml" in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SplitConfig(kind="kfold", n=1),
        lambda: SplitConfig(fold=3),
        lambda: SplitConfig(test_fraction=1.0),
        lambda: ModelConfig(name="resnet"),
        lambda: ModelConfig(name="mc3_18", stem="factorised"),
        lambda: ModelConfig(stem_init="rgb_sum"),
        lambda: ModelConfig(weights="kinetics", stem="factorised", stem_init="rgb_sum"),
        lambda: StageResources(time_min=0),
        lambda: StageResources(mem_gb=-1.0),
        lambda: PreprocessingConfig(field_mm=(1e9, 240, 156)),
        lambda: AugmentConfig(scale=(1.2, 0.9)),
        lambda: PreprocessingConfig(percentiles=(99.5, 0.5)),
        lambda: DataConfig(name="a/b"),
        lambda: SweepConfig(name="../x"),
    ],
)
def test_values_out_of_range_are_refused(make) -> None:
    with pytest.raises(UserError):
        make()


def test_flattened_keys_name_what_replaced_changes() -> None:
    config = Config()
    changed = replaced(config, {"train.epochs": 7, "augment.scale": [1, 2]})
    before, after = flatten(config), flatten(changed)
    assert {key for key in after if before[key] != after[key]} == {"train.epochs", "augment.scale"}
    assert changed == replace(
        config, train=replace(config.train, epochs=7), augment=AugmentConfig(scale=(1.0, 2.0))
    )


@pytest.mark.parametrize("key", ["train.epoch", "nothing.at.all", "train.epochs.x"])
def test_replacing_an_unknown_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=r"epoch|nothing"):
        replaced(Config(), {key: 1})


def test_plain_values_hold_no_tuples() -> None:
    def kinds(value: object) -> set[type]:
        if isinstance(value, dict):
            return set().union(*(kinds(item) for item in value.values()))
        if isinstance(value, list):
            return {list}.union(*(kinds(item) for item in value))
        return {type(value)}

    assert kinds(to_dict(Config())) <= {str, int, float, bool, list, type(None)}


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration at"):
        load(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        load(tmp_path / "config.yaml")


def test_a_configuration_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"config\.yaml must be UTF-8"):
        load(tmp_path / "config.yaml")
