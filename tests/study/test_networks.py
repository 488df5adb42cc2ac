"""What conf/model says of the networks, without torch."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stfmri.study import networks as known
from stfmri.study.compose import CONF, compose, groups
from stfmri.study.config.training import ModelConfig
from stfmri.study.errors import ConfigError
from stfmri.study.ready_weights import READY_WEIGHTS


@pytest.mark.parametrize("name", groups()["model"])
def test_each_choice_of_conf_is_a_network_with_words_and_a_source(name: str) -> None:
    about = known.networks()[name]
    assert compose([f"model={name}"]).model.name == name
    assert about.phrase.startswith("a ")
    assert "doi:" in about.citation or "arXiv:" in about.citation
    assert set(about.weights) <= set(READY_WEIGHTS)


def test_no_two_networks_have_one_label() -> None:
    labels = [about.label for about in known.networks().values()]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "sfcn", "weights": "kinetics"}, "model.weights of sfcn must be one of scratch"),
        ({"name": "r3d_18", "weights": "medicalnet"}, "scratch, kinetics; found medicalnet"),
        ({"name": "mc3_18", "stem": "factorised"}, "model.stem of mc3_18 must be one of basic"),
        ({"name": "resnet5"}, "model.name must be one of .* did you mean resnet50"),
    ],
)
def test_a_network_is_refused_what_it_has_not(settings: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ModelConfig(**settings)


def test_what_is_known_of_a_network_is_no_setting() -> None:
    with pytest.raises(ConfigError, match=r"unknown key model\.about"):
        compose(["model.about.label=mine"])


def test_a_network_that_is_gone_is_called_by_its_name() -> None:
    assert known.label_of("mc3_18") == "Mixed Convolution"
    assert known.label_of("no_more") == "no_more"


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known, "find_spec", lambda library: None)
    assert known.lacking("densenet121") == "pip install 'stfmri[monai]'"
    assert known.lacking("sfcn") == ""


@pytest.fixture
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of conf/model that a test may change."""
    files = tmp_path / "model"
    shutil.copytree(CONF / "model", files)
    monkeypatch.setattr(known, "FILES", files)
    known.networks.cache_clear()
    yield files
    known.networks.cache_clear()


def test_a_preset_without_an_about_is_no_network_of_its_own(own_files: Path) -> None:
    before = set(known.networks())
    (own_files / "mine.yaml").write_text("defaults: [sfcn, _self_]\ndropout: 0.1\n")
    known.networks.cache_clear()
    assert set(known.networks()) == before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"about: {label: A, phras: a}", "did you mean about.phrase"),
        (b"about: [", "is not valid YAML"),
        (b"\xff\xfe", "cannot read"),
    ],
)
def test_a_damaged_file_is_one_line_with_its_name(
    own_files: Path, content: bytes, says: str
) -> None:
    (own_files / "mine.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=says) as caught:
        known.networks()
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)
