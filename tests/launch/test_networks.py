"""Networks that need more than this package: a library, or weights that only the user can have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from launch import submit
from stfmri.learning import models
from stfmri.study import networks
from stfmri.study.config.training import ModelConfig
from stfmri.study.sweep_file import load_sweep
from tests.conftest import need_library
from tests.launch.conftest import submission


def chosen(root: Path, name: str, *more: str) -> list[str]:
    one = ("cluster=local", "sweep.folds=[0]", f"sweep.models=[{name}]")
    return submission(root, *one, *more)


def test_a_missing_library_ends_the_submission_with_the_command_that_installs_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(networks, "find_spec", lambda library: None)
    assert submit.main([*chosen(root, "densenet121"), "--dry-run"]) == 0
    assert "before submitting: densenet121 needs a library" in capsys.readouterr().out
    assert submit.main(chosen(root, "densenet121")) == 2
    complaint = capsys.readouterr().err
    assert "densenet121 needs a library that is not installed" in complaint
    assert "pip install 'stfmri[monai]'" in complaint
    assert not (root / "runs/demo/sweep.yaml").exists()


def test_weights_that_a_network_has_not_end_the_submission(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit.main(chosen(root, "sfcn", "sweep.weights=[kinetics]")) == 2
    assert "model.weights of sfcn must be one of scratch" in capsys.readouterr().err


def test_without_medicalnets_file_the_submission_ends_with_the_place_for_it(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need_library("resnet10")
    assert submit.main(chosen(root, "resnet10", "sweep.weights=[medicalnet]")) == 2
    complaint = capsys.readouterr().err
    place = root / "data/weights/resnet_10_23dataset.pth"
    for part in (f"no weights at {place}", "model.weights_file", "github.com/Tencent/MedicalNet"):
        assert part in complaint
    assert not (root / "runs/demo/sweep.yaml").exists()


@pytest.mark.slow
def test_a_run_of_sfcn_trains_to_the_end_and_says_what_it_is(root: Path) -> None:
    assert submit.main(chosen(root, "sfcn")) == 0
    [run] = load_sweep(root / "runs/demo").runs
    provenance = json.loads((run.folder / "provenance.json").read_text(encoding="utf-8"))
    network = models.build(ModelConfig(name="sfcn"), 3, seed=0)
    assert provenance["parameters"] == models.parameter_count(network)
    summary = json.loads((root / "results/demo/summary.json").read_text(encoding="utf-8"))
    assert set(summary["variants"]) == {"sfcn-scratch"}
    report = (root / "results/demo/report.html").read_text(encoding="utf-8")
    assert "a small fully convolutional network made for brain MRI" in report


@pytest.mark.slow
def test_a_run_trains_from_medicalnets_file_and_records_its_hash(root: Path) -> None:
    need_library("resnet10")
    torch.manual_seed(1)
    theirs = models.NETWORKS["resnet10"].ready["medicalnet"]().state_dict()
    file = root / "data/weights/resnet_10_23dataset.pth"
    file.parent.mkdir(parents=True)
    torch.save({"state_dict": {f"module.{key}": value for key, value in theirs.items()}}, file)
    more = ("sweep.weights=[medicalnet]", "train.learning_rate=1e-5", "train.batch_size=12")
    assert submit.main(chosen(root, "resnet10", *more)) == 0
    [run] = load_sweep(root / "runs/demo").runs
    assert run.name == "resnet10-medicalnet/fold0"
    trained = torch.load(run.folder / "model.pt", weights_only=True)["state_dict"]
    # AdamW moves a weight by no more than about its step size. All subjects are in one batch: of a
    # single one, 12³ voxels become one, which batch norm refuses.
    name = "layer4.0.conv2.weight"
    assert (trained[name] - theirs[name]).abs().max() < 20 * 1e-5
    assert file.exists()
