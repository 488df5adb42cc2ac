"""Part A of the GPU checks finds what the networks hold, and finds nothing wrong on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from gpu.convolving import NETWORKS
from gpu.layers import convolutions_of, norms_of

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (1, 1, 78, 120, 120)
# What a bare GPU machine lacks
ABSENT = ("pydantic", "hydra", "omegaconf", "nibabel", "torchio", "submitit", "SimpleITK", "rich")


@pytest.mark.parametrize(
    ("name", "convolutions", "distinct"),
    [("r3d_18", 20, 11), ("mc3_18", 20, 11), ("r2plus1d_18", 37, 25)],
)
def test_every_convolution_of_a_network_is_found(
    name: str, convolutions: int, distinct: int
) -> None:
    found = convolutions_of(name, SHAPE)
    assert found.total() == convolutions
    assert len(found) == distinct
    assert [item.shape for item in found if item.first] == [SHAPE]


@pytest.mark.parametrize(("name", "norms"), [("r3d_18", 20), ("mc3_18", 20), ("r2plus1d_18", 37)])
def test_every_norm_is_found_with_what_follows_it(name: str, norms: int) -> None:
    found = norms_of(name, SHAPE)
    assert found.total() == norms
    assert sum(count for norm, count in found.items() if norm.residual) == 8  # blocks
    assert sum(count for norm, count in found.items() if not norm.relu) == 3  # shortcuts
    assert {norm.shape[1] % 8 for norm in found} == {0}


def test_on_a_cpu_every_form_agrees_and_nothing_but_the_bare_libraries_is_needed(
    tmp_path: Path,
) -> None:
    out = tmp_path / "check.json"
    arguments = ["gpu_check.py", "--quick", "--device=cpu", "--part", "A", f"--out={out}"]
    code = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT}))
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
sys.argv = {arguments}
import gpu_check
sys.exit(gpu_check.main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text(encoding="utf-8"))["figures"]
    errors = [item["value"] for item in figures if "error of" in item["name"]]
    assert len(errors) > 100
    assert max(errors) < 1e-5
    summed = [item["name"] for item in figures if item["name"].endswith("ms a step")]
    assert all(sum(name in item for item in summed) >= 8 for name in NETWORKS)
