"""From what a user types to a configuration."""

from __future__ import annotations

import dataclasses
import shutil
import typing
from pathlib import Path

import pytest
import yaml

import stfmri.study.compose
from stfmri.study.compose import CONF, compose, groups
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.networks import networks
from stfmri.study.overrides import flatten
from stfmri.study.ready_weights import KINETICS

CHOICES = [(group, choice) for group, choices in groups().items() for choice in choices]
SINGLE_CHOICES = [pair for pair in CHOICES if pair[0] != "sweep"]


@pytest.mark.parametrize(("group", "choice"), SINGLE_CHOICES)
def test_every_choice_composes(group: str, choice: str) -> None:
    compose([], choices={group: choice})


@pytest.mark.parametrize("sweep", groups()["sweep"])
def test_every_sweep_composes_under_its_own_name(sweep: str) -> None:
    config = compose([], sweep=sweep)
    assert config.sweep.name == sweep
    # Of a cohort that is named with the sweep, the classes are known; of any cohort, not.
    assert config.data.classes or config.data == DataConfig()


def test_defaults_of_conf_and_of_the_dataclasses_agree() -> None:
    """The dataclasses hold the paper's recipe, which runs of earlier versions were trained by."""
    composed, plain = flatten(compose(["train=paper", "augment=light"])), flatten(Config())
    of_the_site = ("root", "cluster", "model.weights_name", "model.weights_hash")
    differing = {
        key: (value, plain[key])
        for key, value in composed.items()
        if value != plain[key] and not key.startswith(of_the_site)
    }
    assert differing == {}


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_key_in_conf_has_a_comment_above_it(group: str, choice: str) -> None:
    text = (CONF / group / f"{choice}.yaml").read_text(encoding="utf-8")
    assert text.startswith("#")
    if "defaults:" in text:  # a preset; what it changes is explained at its top
        return
    explained = False
    for line in text.splitlines():
        key = line.partition(":")[0].strip()
        if ":" in line and not line.startswith("#") and key not in ("preprocess", "train"):
            assert explained or group == "cluster", f"{group}/{choice}: {key}"
        explained = line.lstrip().startswith("#")


# Which fold a run takes, and the hash of the split that it was submitted with.
SET_BY_A_SWEEP = (("split", "fold"), ("split", "sha256"))


def test_every_key_of_the_dataclasses_can_be_found_in_conf() -> None:
    written = "\n".join(path.read_text(encoding="utf-8") for path in CONF.rglob("*.yaml"))
    for field, kind in typing.get_type_hints(Config).items():
        if not dataclasses.is_dataclass(kind):
            continue
        for inner in dataclasses.fields(kind):
            if (field, inner.name) not in SET_BY_A_SWEEP:
                assert f"{inner.name}:" in written, f"{field}.{inner.name}"


@pytest.mark.parametrize(
    "name",
    ["a b.csv", "größe.csv", "a (1).csv", "a,b.csv", "x=1.csv", "it's.csv", "${x}.csv", "[a]{b}"],
)
@pytest.mark.parametrize("key", ["data.table", "data.brats", "model.weights_file"])
def test_paths_are_taken_as_typed(key: str, name: str, tmp_path: Path) -> None:
    group, field = key.split(".")
    config = compose([f"{key}={tmp_path / name}"])
    assert getattr(getattr(config, group), field) == str(tmp_path / name)


def test_a_typed_path_starts_at_the_current_folder_and_tilde_is_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    config = compose(["data.table=sub/c.csv", "data.ixi=~/IXI"], root=tmp_path / "root")
    assert config.data.table == str(tmp_path / "sub" / "c.csv")
    assert config.data.ixi == "/home/somebody/IXI"


def test_a_path_in_conf_starts_at_the_root(tmp_path: Path) -> None:
    config = compose(["data=phantom"], root=tmp_path)
    assert config.data.folder == str(tmp_path / "data" / "phantom")
    assert config.root == str(tmp_path)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.epoch=3", "did you mean train.epochs?"),
        ("trian.epochs=3", "did you mean train.epochs?"),
        ("modle=sfcn", "did you mean model?"),
        ("data=brats", "did you mean brats_ixi?"),
        ("sweep=full", "--sweep full"),
        ("epochs", "key=value"),
        ("train.epochs=many", "must be a whole number, found 'many'"),
        ("train.epochs=0", "at least 1"),
        ("train.epochs=1,2", "sweep.axes"),
        ("data.classes=[a,b", "a list is [a, b]"),
        ("checkpoint=1", "checkpoint.<name>"),
        ("data.name.x=1", "data.name is a single value"),
        ("data.name=../x", "data.name"),
    ],
)
def test_a_slip_is_named_in_one_line(override: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        compose([override])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_sweep_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"did you mean full\?.*demo, full"):
        compose([], sweep="ful")


def test_a_slip_in_a_sweep_file_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    monkeypatch.setattr(stfmri.study.compose, "CONF", conf)
    text = "# @package _global_\ndefaults:\n  - override /preprocessing: mm8_tigth\n"
    (conf / "sweep" / "mine.yaml").write_text(text, encoding="utf-8")
    groups.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"=mm8_tigth.*did you mean mm8_tight\?"):
            compose([], sweep="mine")
    finally:
        groups.cache_clear()


def test_of_the_same_key_the_last_one_counts() -> None:
    assert compose(["train.epochs=3", "train.epochs=4"]).train.epochs == 4


def test_the_command_line_wins_over_the_sweep() -> None:
    config = compose(["data=table", "train.epochs=9", "data.label=sex"], sweep="ixi_age")
    assert (config.train.epochs, config.data.label, config.data.name) == (9, "sex", "ixi_hh")


def test_the_weights_in_conf_are_those_of_torchvision() -> None:
    from torchvision.models.video import MC3_18_Weights, R2Plus1D_18_Weights, R3D_18_Weights

    theirs = {
        "r3d_18": R3D_18_Weights,
        "mc3_18": MC3_18_Weights,
        "r2plus1d_18": R2Plus1D_18_Weights,
    }
    having = {name for name, about in networks().items() if KINETICS.name in about.weights}
    assert having == set(theirs)
    for name, known in theirs.items():
        model = compose([f"model={name}"]).model
        assert KINETICS.address + model.weights_name == known.KINETICS400_V1.url
        assert model.weights_name == f"{name}-{model.weights_hash}.pth"


def test_conf_holds_nothing_but_yaml_that_reads() -> None:
    for path in CONF.rglob("*"):
        if path.is_file():
            assert path.suffix == ".yaml"
            assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict), path


@pytest.mark.parametrize(
    "typed", ["data.table=~nobody-here/c.csv", "model.weights_file=~nobody-here"]
)
def test_a_home_folder_that_nobody_has_is_an_error_in_one_line(typed: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no home folder is known for ~nobody-here"):
        compose([typed], root=tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"\tx: 1",
        b"a: [",
        b"- 1",
        b"5",
        b"\xff\xfe\0",
        b"name: a\nname: b",
        b"name: !!python/object/apply:os.getcwd []",
        b"name: ${nowhere}",
        b"a: &a [*a]",
        b"[" * 3000,
        b"nope: 1",
    ],
)
def test_a_file_of_conf_spoilt_by_hand_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    monkeypatch.setattr(stfmri.study.compose, "CONF", conf)
    (conf / "data" / "mine.yaml").write_bytes(content)
    groups.cache_clear()
    try:
        with pytest.raises(ConfigError) as caught:
            compose(["data=mine"], root=tmp_path)
    finally:
        groups.cache_clear()
    assert "data" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", ".nan"])
def test_a_number_must_be_finite(value: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.learning_rate must be a finite number"):
        compose([f"train.learning_rate={value}"])


def test_a_value_nested_without_end_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"cannot read the value in sweep\.models") as caught:
        compose([f"sweep.models={'[' * 3000}{']' * 3000}"])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
