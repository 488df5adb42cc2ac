"""A GPU machine may have torch, torchvision, accelerate, h5py and numpy alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.benchmarks.bare import LIBRARIES, ROOT, bare_environment

BENCHMARKS = ROOT / "benchmarks"
MISSING = ("hydra", "omegaconf", "submitit", "torchio", "nibabel", "sklearn", "scipy", "rich")


def test_whatever_measures_a_gpu_needs_five_libraries_alone(bare: dict[str, str]) -> None:
    program = f"""
from importlib.util import find_spec
assert not [name for name in {MISSING} if find_spec(name)]
import input, resume, step, study, verify, gpu_check, usual_script
import stfmri.train, stfmri.learning.choosing
"""
    done = python(bare, BENCHMARKS, "-c", program)
    assert done.returncode == 0, done.stderr


def test_the_tests_of_a_gpu_need_pytest_besides(tmp_path: Path) -> None:
    environment = bare_environment(tmp_path, (*LIBRARIES, "pytest"))
    options = ["--collect-only", "--quiet", "-p", "no:cacheprovider"]
    done = python(environment, ROOT, "-m", "pytest", *options, "tests/cuda/test_on_gpu.py")
    assert done.returncode == 0, done.stdout + done.stderr


def python(
    environment: dict[str, str], folder: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
