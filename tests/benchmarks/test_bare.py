"""A GPU machine may have torch, torchvision, accelerate, h5py and numpy alone."""

from __future__ import annotations

import subprocess
import sys

from tests.benchmarks.bare import ROOT

BENCHMARKS = ROOT / "benchmarks"
MISSING = ("hydra", "omegaconf", "submitit", "torchio", "nibabel", "sklearn", "scipy", "rich")


def test_whatever_measures_a_gpu_needs_five_libraries_alone(bare: dict[str, str]) -> None:
    program = f"""
from importlib.util import find_spec
assert not [name for name in {MISSING} if find_spec(name)]
import input, resume, step, study, gpu_check, usual_script
import stfmri.train, stfmri.learning.choosing
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env=bare,
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
