"""Choices laid over a composition mean what they mean to Hydra."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import stfmri.study.compose
from stfmri.study import layers
from stfmri.study.compose import CONF, compose, compose_choice, groups
from stfmri.study.config import Config
from stfmri.study.errors import ConfigError

SINGLE_GROUPS = [group for group in groups() if group != "sweep"]
MOST_CHOICES = max(len(groups()[group]) for group in SINGLE_GROUPS)
# One key of most groups, lists and numbers that YAML and Hydra write differently among them.
TYPED = [
    "data.classes=[young,old]",
    "data.name=mine",
    "preprocessing.field_mm=[160,192,156]",
    "split.seed=3",
    "model.dropout=1e-2",
    "augment.scale=[0.95,1.05]",
    "augment.flip_probability=0",
    "train.learning_rate=1e-4",
    "cluster.train.time_min=7",
    "cluster.train.gres=null",
    "model=mc3_18",
    "model.weights_file=/a/b,c.pth",
]


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of conf/ to be changed."""
    folder = tmp_path / "conf"
    shutil.copytree(CONF, folder)
    monkeypatch.setattr(stfmri.study.compose, "CONF", folder)
    groups.cache_clear()
    yield folder
    groups.cache_clear()


@pytest.fixture
def left_to_hydra(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Why choices were left to Hydra, each time that they were."""
    reasons = []

    def laid_over(*arguments: Any) -> dict[str, Any]:
        try:
            return original(*arguments)
        except layers.LeftToHydraError as error:
            reasons.append(str(error))
            raise

    original = layers.laid_over
    monkeypatch.setattr(layers, "laid_over", laid_over)
    return reasons


def outcome(make: Callable[..., Config], *arguments: Any, **named: Any) -> Config | str:
    """The configuration, or how it was refused."""
    try:
        return make(*arguments, **named)
    except ConfigError as error:
        return str(error)


@pytest.mark.parametrize("sweep", [None, *groups()["sweep"]])
def test_every_choice_of_conf_is_what_hydra_makes_of_it(
    sweep: str | None, left_to_hydra: list[str]
) -> None:
    for number in range(MOST_CHOICES):
        # One of each group at a time, since groups do not depend on each other.
        choices = {name: groups()[name][number % len(groups()[name])] for name in SINGLE_GROUPS}
        typed = TYPED[number % 2 :: 2]
        if choices["split"] == "kfold":
            typed.append("split.n=5")  # which a sweep with one split does not have
        else:
            typed.append("split.repeats=1")  # other splits have no repetitions
        words = [f"{group}={choice}" for group, choice in choices.items()]
        laid = compose(typed, sweep=sweep, choices=choices)
        assert laid == compose([*typed, *words], sweep=sweep)
    assert left_to_hydra == []


@pytest.mark.parametrize("group", SINGLE_GROUPS)
def test_a_choice_alone_is_what_hydra_makes_of_it(group: str, tmp_path: Path) -> None:
    choice = groups()[group][-1]
    assert compose_choice(group, choice, root=tmp_path) == replace(
        compose([f"{group}={choice}"], root=tmp_path),
        **{name: getattr(Config(), name) for name in SINGLE_GROUPS if name != group},
    )


# A file of conf/, its content, whether it is laid over or left to Hydra, and the dropout that it
# gives to `model=odd` in the sweep `odd`.
ODD_FILES = {
    "another number": ("model/odd", "dropout: 1e-1", "laid", 0.1),
    "of another choice": ("model/odd", "defaults: [mc3_18, _self_]\ndropout: 0.1", "laid", 0.1),
    "under another choice": ("model/odd", "defaults: [_self_, mc3_18]\ndropout: 0.1", "laid", 0.3),
    "beside another choice": ("model/odd", "defaults: [mc3_18]\ndropout: 0.1", "left", 0.1),
    "chooses elsewhere": (
        "model/odd",
        "defaults: [mc3_18, _self_, override /split@_global_.split: kfold]\ndropout: 0.1",
        "left",
        0.1,
    ),
    "refers": ("model/odd", "dropout: ${augment.flip_probability}", "left", 0.5),
    "is elsewhere": ("model/odd", "# @package _global_\nmodel: {dropout: 0.1}", "left", 0.1),
    "in a place of its own": ("model/odd", "# @package model\ndropout: 0.1", "left", 0.1),
    "with a part": ("model/odd", "defaults: [mc3_18@_here_, _self_]\ndropout: 0.1", "left", 0.1),
    "empty": ("model/odd", "# nothing", "laid", 0.3),
    "replaced one chooses": (
        "model/r3d_18",
        "defaults: [_self_, override /split@_global_.split: kfold]\nname: r3d_18",
        "left",
        0.3,
    ),
    "of the sweep": ("sweep/odd", "# @package _global_\nmodel: {dropout: 0.1}", "laid", 0.1),
    "of a sweep's sweep": (
        "sweep/odd",
        "# @package _global_\ndefaults: [under, _self_]\nmodel: {slice_axis: coronal}",
        "laid",
        0.2,
    ),
    "under a sweep's sweep": (
        "sweep/odd",
        "# @package _global_\ndefaults: [_self_, under]\nmodel: {dropout: 0.1}",
        "laid",
        0.2,
    ),
    "of a sweep, referring": (
        "sweep/odd",
        "# @package _global_\naugment: {flip_probability: '${model.dropout}'}",
        "left",
        0.3,
    ),
    "of a sweep without a mark": ("sweep/odd", "name: odd", "left", 0.3),
    "for all": ("config", None, "left", 0.1),
}


@pytest.mark.parametrize("name", ODD_FILES)
def test_an_odd_file_means_what_it_means_to_hydra(
    name: str, conf: Path, left_to_hydra: list[str]
) -> None:
    file, content, how, dropout = ODD_FILES[name]
    (conf / "model/odd.yaml").write_text("defaults: [mc3_18, _self_]")
    (conf / "sweep/under.yaml").write_text("# @package _global_\nmodel: {dropout: 0.2}")
    (conf / "sweep/odd.yaml").write_text("# @package _global_\nsweep: {name: odd}")
    path = conf / f"{file}.yaml"
    path.write_text(content or f"{path.read_text()}\nmodel: {{dropout: 0.1}}")
    groups.cache_clear()
    laid = compose([], sweep="odd", choices={"model": "odd"})
    assert laid == compose(["model=odd"], sweep="odd")
    assert laid.model.dropout == dropout
    assert bool(left_to_hydra) == (how == "left")
    alone = compose_choice("model", "odd", root=conf)
    if file != "config":
        assert alone.model == compose(["model=odd"], root=conf).model


@pytest.mark.parametrize(
    "content",
    [
        "a: [",
        "- 1",
        "5",
        "name: a\nname: b",
        "nope: 1",
        "dropout: {a: 1}",
        "defaults: [odd, _self_]",
    ],
)
def test_a_spoilt_choice_is_refused_in_the_same_words(content: str, conf: Path) -> None:
    (conf / "model/odd.yaml").write_text(content)
    groups.cache_clear()
    refused = outcome(compose, ["model=odd"], sweep="full")
    assert isinstance(refused, str)
    assert outcome(compose, [], sweep="full", choices={"model": "odd"}) == refused


def test_an_unknown_choice_is_refused_as_on_the_command_line() -> None:
    with pytest.raises(ConfigError, match=r"model=r3d is not known; did you mean r3d_18\?"):
        compose([], choices={"model": "r3d"})


def test_a_further_choice_takes_no_composition(monkeypatch: pytest.MonkeyPatch) -> None:
    compose([], sweep="full")
    monkeypatch.delattr(stfmri.study.compose, "hydra_compose")
    for model in groups()["model"]:
        assert compose([], sweep="full", choices={"model": model}).model.name == model
