"""Every benchmark runs, at toy size, and says so."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import skip_or_fail

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
QUICK = {
    "step": ["--models", "mc3_18", "--device", "cpu"],
    "input": ["--device", "cpu", "--workers", "1"],
    "preprocess": [],
    "resume": ["--device", "cpu"],
    "verify": ["--device", "cpu"],
    "bad_inputs": [],
    "startup": [],
    "collect": [],
    "baselines": [],
    "interval_coverage": [],
    "noise": [],
    "study": ["--device", "cpu"],
}
# They measure GPUs, whose machines may have few libraries.
BARE = ("step", "resume", "study", "verify")


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_quick_run_prints_a_table_without_verdicts(name: str, bare: dict[str, str]) -> None:
    python = [sys.executable, "-S"] if name in BARE else [sys.executable]
    done = subprocess.run(
        [*python, str(BENCHMARKS / f"{name}.py"), "--quick", *QUICK[name]],
        env=bare if name in BARE else None,
        capture_output=True,
        text=True,
        cwd=BENCHMARKS.parent,
    )
    assert done.returncode == 0, done.stderr
    assert "Toy sizes" in done.stdout
    assert "not judged" in done.stdout
    assert " met " not in done.stdout


@pytest.mark.slow
def test_the_cost_of_a_step_for_the_host_is_measured_without_a_gpu() -> None:
    if shutil.which("gcc") is None:
        skip_or_fail("no C compiler: install gcc and libc6-dev")
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "host.py"), "--quick"],
        capture_output=True,
        text=True,
        cwd=BENCHMARKS.parent,
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"one graph: launches, a step +\| \d+ and a graph", done.stdout)) == 3


def test_results_keep_a_row_of_every_benchmark() -> None:
    results = (BENCHMARKS / "RESULTS.md").read_text(encoding="utf-8")
    for name in [*QUICK, "brain_extraction", "host"]:
        assert f"benchmarks/{name}.py" in results
