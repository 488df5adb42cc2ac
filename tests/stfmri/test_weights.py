"""Kinetics weights: fetched once, checked, found without network."""

from __future__ import annotations

import hashlib
import io
import urllib.error
from pathlib import Path

import pytest

from stfmri import weights
from stfmri.config import ModelConfig

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
    assert asked == [weights.SOURCE + "r3d_18-x.pth"]


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
    for part in ("no route to host", weights.SOURCE, str(tmp_path), "model.weights_file"):
        assert part in str(caught.value)


def test_a_damaged_copy_is_refused(tmp_path: Path, asked: list[str]) -> None:
    path, _ = weights.ensure(MODEL, tmp_path)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(weights.WeightsError, match="delete it"):
        weights.ensure(MODEL, tmp_path)


def test_a_file_of_ones_own_needs_no_network_but_must_be_meant(
    tmp_path: Path, asked: list[str]
) -> None:
    own = tmp_path / "own.pth"
    with pytest.raises(weights.WeightsError, match="no weights at"):
        weights.ensure(ModelConfig(weights="kinetics", weights_file=str(own)), tmp_path)
    own.write_bytes(b"other")
    digest = hashlib.sha256(b"other").hexdigest()
    model = ModelConfig(weights="kinetics", weights_file=str(own), weights_hash=SHA256[:8])
    with pytest.raises(weights.WeightsError, match=f"model.weights_hash={digest[:8]}"):
        weights.ensure(model, tmp_path)
    meant = ModelConfig(weights="kinetics", weights_file=str(own), weights_hash=digest[:8])
    assert weights.ensure(meant, tmp_path) == (own, digest)
    assert asked == []
