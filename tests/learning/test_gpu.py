"""A GPU that was asked for and is not there ends the run; Accelerate starts on every node."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from stfmri.learning import gpu
from stfmri.learning.acceleration import accelerator_of
from stfmri.learning.gpu import NoGpuError, asked_for, before_accelerate
from stfmri.study import config as configuration
from stfmri.study.config import Config
from stfmri.study.config.sweep import GPU_ASKED
from stfmri.study.config.training import ModelConfig
from stfmri.study.errors import TrainingError
from stfmri.train import main
from tests.nvidia import fake_nvidia_smi
from tests.tiny import tiny_cache, tiny_config

NCCL = ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE")
READ = (
    "CUDA_VISIBLE_DEVICES",
    "SLURM_STEP_GPUS",
    "SLURM_JOB_GPUS",
    "SLURM_GPUS_ON_NODE",
    "ACCELERATE_USE_CPU",
    "ACCELERATE_MIXED_PRECISION",
    "WORLD_SIZE",
    GPU_ASKED,
    *NCCL,
)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in READ:
        monkeypatch.setenv(name, "")  # so that what a test's own code sets goes again
        monkeypatch.delenv(name)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({GPU_ASKED: "cluster.train.gres=gpu:1"}, "cluster.train.gres=gpu:1"),
        # A set-up line that hides the GPU does not take back what the study asks for.
        ({GPU_ASKED: "cluster.train.gres=gpu:1", "CUDA_VISIBLE_DEVICES": ""}, "cluster.train.gres"),
        ({"CUDA_VISIBLE_DEVICES": "0"}, "CUDA_VISIBLE_DEVICES=0"),
        ({"SLURM_JOB_GPUS": "0"}, "SLURM_JOB_GPUS=0"),  # the first device
        ({"SLURM_STEP_GPUS": "3", "CUDA_VISIBLE_DEVICES": "0"}, "SLURM_STEP_GPUS=3"),
        ({"SLURM_GPUS_ON_NODE": "2"}, "SLURM_GPUS_ON_NODE=2"),
        ({"SLURM_JOB_GPUS": "0", "CUDA_VISIBLE_DEVICES": "NoDevFiles"}, "SLURM_JOB_GPUS=0"),
        ({"WORLD_SIZE": "2", "ACCELERATE_MIXED_PRECISION": "no"}, "accelerate launch --multi_gpu"),
    ],
)
def test_without_the_gpu_that_was_asked_for_one_line_says_who_asked_and_what_is_there(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], asked: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NoGpuError) as caught:
        accelerator_of(Config())
    line = str(caught.value)
    assert f"a GPU was asked for ({asked}" in line
    for part in ("torch.cuda.is_available() is False", torch.__version__, "NVIDIA driver: "):
        assert part in line
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    assert "CUDA_VISIBLE_DEVICES" + (" is not set" if visible is None else f"={visible}") in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    "environment",
    [
        {},  # a laptop
        {"CUDA_VISIBLE_DEVICES": ""},
        {"CUDA_VISIBLE_DEVICES": "-1", "SLURM_JOB_GPUS": "0"},  # hidden by the user
        {"CUDA_VISIBLE_DEVICES": "NoDevFiles", "SLURM_GPUS_ON_NODE": "0"},  # a job without a GPU
        {"ACCELERATE_USE_CPU": "true", "SLURM_JOB_GPUS": "0", GPU_ASKED: "cluster.train.gres=gpu"},
        {"WORLD_SIZE": "2"},  # torchrun on CPUs
    ],
)
def test_where_nothing_asked_for_a_gpu_the_cpu_goes_on(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert asked_for() == ""
    before_accelerate()


def test_the_driver_and_torchs_own_reason_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def too_old() -> bool:
        warnings.warn("CUDA initialization: the driver is too old. Please update", stacklevel=1)
        return False

    fake_nvidia_smi(monkeypatch, tmp_path, ["Default"], driver="470.57.02")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(torch.cuda, "is_available", too_old)
    with pytest.raises(TrainingError, match=r"NVIDIA driver: 470\.57\.02;.*the driver is too old"):
        before_accelerate()


def test_a_driver_without_its_tools_is_read_from_the_kernel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpu, "DRIVER_FILE", tmp_path / "version")
    assert gpu._driver() == "none"
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC"
    (tmp_path / "version").write_text(text)
    assert gpu._driver() == "535.104.05, without a working nvidia-smi"


def test_a_run_that_was_promised_a_gpu_ends_with_1_and_trains_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(tmp_path, model=ModelConfig(name="sfcn"))
    tiny_cache(config)
    file = tmp_path / "runs/a/sfcn-scratch/fold0/config.yaml"
    configuration.save(config, file)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--config", str(file)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: a GPU was asked for (CUDA_VISIBLE_DEVICES=0) and none is seen")
    assert [path.name for path in file.parent.iterdir()] == ["config.yaml"]


@pytest.fixture
def _several_rtx_4090(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A node on which Accelerate refuses to start, as far as its look goes."""
    name = "NVIDIA GeForce RTX 4090"
    fake_nvidia_smi(monkeypatch, tmp_path, ["Default"] * 4, name=name, driver="535.104.05")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)


@pytest.mark.usefixtures("_several_rtx_4090")
def test_one_process_starts_on_a_node_of_several_rtx_4000_cards_with_an_old_driver() -> None:
    assert accelerator_of(Config()).device.type == "cuda"
    assert [os.environ[name] for name in NCCL] == ["1", "1"]


def test_what_the_user_set_for_nccl_stays_and_several_processes_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    before_accelerate()
    assert not set(NCCL) & set(os.environ)
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv(NCCL[0], "0")
    before_accelerate()
    assert [os.environ[name] for name in NCCL] == ["0", "1"]
