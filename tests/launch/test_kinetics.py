"""Pre-trained weights from the user's own file, from the plan to the trained run."""

from __future__ import annotations

import hashlib
import json
import urllib.error
from pathlib import Path

import pytest
import torch
from torchvision.models import video

from launch import local, submit
from stfmri.study import config as configuration
from stfmri.study.sweep_file import load_sweep
from tests.launch.conftest import submission

NAME = "mc3_18-a90a0ba3.pth"  # torchvision's


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(url: str, timeout: float) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)


@pytest.fixture(scope="module")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict in torchvision's 400-class format, whose hash is not torchvision's."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = video.mc3_18()
    file = tmp_path_factory.mktemp("own") / "größe=1 (a, b).pth"
    torch.save(network.state_dict(), file)
    return file


def pretrained(root: Path, *more: str) -> list[str]:
    return submission(root, "cluster=local", "sweep.weights=[kinetics]", "sweep.folds=[0]", *more)


def test_without_network_and_file_the_submission_ends_with_the_place_for_one(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = root / "data/weights" / NAME
    assert submit.main([*pretrained(root), "--dry-run"]) == 0
    assert f"no weights at {place}" in capsys.readouterr().out
    assert submit.main(pretrained(root)) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    for part in ("no route to host", f"put it at {place}", "model.weights_file"):
        assert part in complaint
    assert not (root / "runs/demo/sweep.yaml").exists()


@pytest.mark.parametrize("content", [b"no weights at all", None])
def test_a_file_that_does_not_fit_the_network_ends_the_submission(
    root: Path, own_file: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = root / "own.pth"
    if content is None:
        state = torch.load(own_file, weights_only=True)
        state["fc.weight"] = state["fc.weight"][:3]
        torch.save(state, file)
    else:
        file.write_bytes(content)
    assert submit.main(pretrained(root, f"model.weights_file={file}")) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert str(file) in complaint
    assert not (root / "runs/demo/sweep.yaml").exists()


@pytest.mark.slow
@pytest.mark.parametrize("placed", [False, True])
def test_a_run_trains_from_the_users_own_file_and_records_its_hash(
    root: Path,
    own_file: Path,
    placed: bool,
    in_this_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "collect", lambda *_: 0)  # nothing here is about results
    where = [f"model.weights_file={own_file}", "train.learning_rate=1e-5"]
    if placed:
        del where[0]
        place = root / "data/weights" / NAME
        place.parent.mkdir(parents=True)
        place.write_bytes(own_file.read_bytes())
    assert submit.main([*pretrained(root, *where), "--dry-run"]) == 0
    assert submit.main(pretrained(root, *where)) == 0
    sha256 = hashlib.sha256(own_file.read_bytes()).hexdigest()
    [run] = load_sweep(root / "runs/demo").runs
    assert run.name == "mc3_18-kinetics/fold0"
    assert configuration.load(run.config_file).model.weights_hash == sha256
    provenance = json.loads((run.folder / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["weights_sha256"] == sha256
    # Adam moves a weight by no more than about its step size: 2 epochs of 8 steps.
    trained = torch.load(run.folder / "model.pt", weights_only=True)["state_dict"]
    theirs = torch.load(own_file, weights_only=True)
    name = "layer4.1.conv2.0.weight"
    assert (trained[name] - theirs[name]).abs().max() < 20 * 1e-5
