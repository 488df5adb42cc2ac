"""What only a GPU can show: the parts of benchmarks/gpu_check.py that state what is right.

They run where there is a GPU, in a process of their own, and are skipped elsewhere.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ALL_GPUS
from tests.cuda.null_device import ROOT

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

RIGHT = {"A": "operators", "B": "whole step", "C": "whole runs"}
WHOLE_RUNS = (
    "beside two others - alone, probability",
    "killed and resumed - alone, probability",
    "streamed - resident, probability",
    "fp32, half-way to-gpu - on the CPU, probability",
    "fp32, half-way to-cpu - on the CPU, probability",
    "overflow: weights moved by",
    "overflow: scale afterwards",
)


@pytest.fixture(scope="module")
def with_gpu() -> dict[str, str]:
    """The environment in which this machine's GPUs are seen."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ALL_GPUS}
    if ALL_GPUS == "all":
        del environment["CUDA_VISIBLE_DEVICES"]
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pytest.skip("no driver of a GPU here")
    ask = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    if subprocess.run([sys.executable, "-c", ask], env=environment).returncode:
        pytest.skip("no GPU here")
    return environment


@pytest.mark.parametrize("part", RIGHT, ids=RIGHT.get)
def test_every_figure_of_a_part_is_within_its_limits(
    part: str, with_gpu: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "check.json"
    command = [sys.executable, "benchmarks/gpu_check.py", "--device", "cuda"]
    done = subprocess.run(
        [*command, "--part", part, "--out", str(out)],
        env=with_gpu,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    figures: list[dict[str, Any]] = json.loads(out.read_text())["figures"]
    if part == "C":
        assert set(WHOLE_RUNS) <= {figure["name"] for figure in figures}
