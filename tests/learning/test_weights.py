"""Kinetics weights: fetched once, checked, found without network."""

from __future__ import annotations

import hashlib
import io
import urllib.error
from dataclasses import replace
from pathlib import Path

import pytest

from stfmri.learning import weights
from stfmri.study.config.training import ModelConfig
from stfmri.study.errors import UserError
from stfmri.study.ready_weights import KINETICS, MEDICALNET

CONTENT = b"weights of a network"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MODEL = ModelConfig(weights="kinetics", weights_name="r3d_18-x.pth", weights_hash=SHA256[:8])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were fetched."""
    addresses: list[str] = []

    def urlopen(url: str, timeout: float) -> io.BytesIO:
        addresses.append(url)
        return io.BytesIO(CONTENT)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return addresses


def test_weights_are_fetched_once_and_kept_under_the_root(tmp_path: Path, asked: list[str]) -> None:
    for _ in range(2):
        path, sha256 = weights.ensure(MODEL, tmp_path)
        assert path == tmp_path / "data/weights/r3d_18-x.pth"
        assert path.read_bytes() == CONTENT
        assert sha256 == SHA256
    assert asked == [KINETICS.address + "r3d_18-x.pth"]


def test_a_download_of_another_file_is_refused_and_not_kept(
    tmp_path: Path, asked: list[str]
) -> None:
    model = ModelConfig(weights="kinetics", weights_name="r3d_18-x.pth", weights_hash="0" * 8)
    with pytest.raises(weights.WeightsError, match="proxy"):
        weights.ensure(model, tmp_path)
    assert list((tmp_path / "data/weights").iterdir()) == []


def test_without_network_the_file_and_its_place_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def urlopen(url: str, timeout: float) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    with pytest.raises(weights.WeightsError) as caught:
        weights.ensure(MODEL, tmp_path)
    for part in ("no route to host", KINETICS.address, str(tmp_path), "model.weights_file"):
        assert part in str(caught.value)


def test_a_file_that_is_there_is_taken_as_it_is(tmp_path: Path, asked: list[str]) -> None:
    own = tmp_path / "own.pth"
    model = replace(MODEL, weights_file=str(own))
    with pytest.raises(weights.WeightsError, match="no weights at"):
        weights.ensure(model, tmp_path)
    own.write_bytes(b"other")
    digest = hashlib.sha256(b"other").hexdigest()
    assert weights.ensure(model, tmp_path) == (own, digest)
    assert not weights.is_torchvisions(model, digest)
    kept = tmp_path / "data/weights/r3d_18-x.pth"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(CONTENT)
    assert weights.ensure(MODEL, tmp_path) == (kept, SHA256)
    assert weights.is_torchvisions(MODEL, SHA256)
    assert asked == []


def test_a_folder_of_files_serves_every_network_by_torchvisions_names(tmp_path: Path) -> None:
    for name in ("r3d_18-x.pth", "mc3_18-y.pth"):
        (tmp_path / name).write_bytes(name.encode())
        model = replace(MODEL, weights_file=str(tmp_path), weights_name=name)
        assert weights.ensure(model, tmp_path)[0] == tmp_path / name


def test_medicalnets_weights_are_never_fetched_and_the_place_for_them_is_named(
    tmp_path: Path, asked: list[str]
) -> None:
    model = ModelConfig(name="resnet10", weights="medicalnet", weights_name="resnet_10.pth")
    with pytest.raises(weights.WeightsError) as caught:
        weights.ensure(model, tmp_path)
    place = tmp_path / "data/weights/resnet_10.pth"
    for part in (f"no weights at {place}", "MedicalNet's file of resnet10", MEDICALNET.place):
        assert part in str(caught.value)
    assert asked == []
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert weights.ensure(model, tmp_path) == (place, SHA256)


def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, asked: list[str]) -> None:
    with pytest.raises(UserError, match=r"model\.weights_name must be letters"):
        weights.ensure(replace(MODEL, weights_name="../../x.pth"), tmp_path)
    assert asked == []


def test_a_file_that_changed_after_the_submission_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.pth"
    own.write_bytes(CONTENT)
    frozen = replace(MODEL, weights_file=str(own), weights_hash=SHA256)
    assert weights.ensure(frozen, tmp_path) == (own, SHA256)
    own.write_bytes(CONTENT[:-1])
    with pytest.raises(weights.WeightsError, match="has changed since the run was submitted"):
        weights.ensure(frozen, tmp_path)
