"""GPUs as nvidia-smi tells of them, and as sbatch is asked for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm import gpus
from slurm.gpus import Gpu, for_one_process, gpus_in, local_gpus
from tests.nvidia import fake_nvidia_smi


@pytest.fixture(autouse=True)
def _no_mps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "mps"))


def test_gpus_are_those_that_the_user_left_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-x")
    assert local_gpus() == ["3", "GPU-x"]
    for none in ("", "-1", "NoDevFiles"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert local_gpus() == []


def test_without_a_choice_of_the_users_every_gpu_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    fake_nvidia_smi(monkeypatch, tmp_path, ["Default", "Default"])
    assert local_gpus() == ["0", "1"]


@pytest.mark.parametrize(
    ("answer", "status", "expected"),
    [
        ("0, GPU-1, Default, NVIDIA A, B", 0, [Gpu("0", "GPU-1", "Default", "NVIDIA A, B")]),
        ("WARNING: infoROM is corrupted\n0, GPU-1, [N/A], X", 0, [Gpu("0", "GPU-1", "[N/A]", "X")]),
        ("No devices were found", 6, []),
        ("NVIDIA-SMI has failed, because it could not, reach, the driver", 9, []),
        ("Failed to initialize NVML: Driver/library version mismatch", 18, []),
        ("", 0, []),
        ("0, GPU-1", 0, []),
    ],
)
def test_whatever_nvidia_smi_answers_is_read_or_counts_as_no_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str, status: int, expected: list[Gpu]
) -> None:
    fake_nvidia_smi(monkeypatch, tmp_path, answer=answer, status=status)
    assert gpus.gpus() == expected


def test_a_gpu_that_takes_one_process_is_found_by_its_number_and_by_its_uuid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    modes = ["Default", "Exclusive_Process", "[Not Supported]", "Prohibited"]
    fake_nvidia_smi(monkeypatch, tmp_path, modes)
    assert [gpu.index for gpu in for_one_process(["0", "1", "2", "3"])] == ["1", "3"]
    assert [gpu.index for gpu in for_one_process(["GPU-0001"])] == ["1"]
    assert for_one_process(["0", "2", "MIG-1"]) == []
    # Through MPS, whose pipe is there, several processes are one.
    (tmp_path / "mps").mkdir()
    (tmp_path / "mps" / "control").touch()
    assert [gpu.index for gpu in for_one_process(["0", "1", "2", "3"])] == ["3"]


@pytest.mark.parametrize(
    ("gres", "count"),
    [
        (None, 0),
        ("", 0),
        ("gpu", 1),
        ("gpu:1", 1),
        ("gpu:a100", 1),
        ("gpu:a100:4", 4),
        ("gres/gpu:2", 2),
        ("gpu:a100:2(S:0-1),gpu:v100:1,tmpdisk:50", 3),
        ("shard:8", 1),
        ("mps:50", 1),
        ("gpu:0", 0),
        ("tmpdisk:50", 0),
    ],
)
def test_gpus_of_a_request_are_counted(gres: str | None, count: int) -> None:
    assert gpus_in(gres) == count
