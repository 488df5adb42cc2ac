"""Every benchmark runs, at toy size, and says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_quick_run_prints_a_table_without_verdicts(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick", *QUICK[name]],
        capture_output=True,
        text=True,
        cwd=BENCHMARKS.parent,
    )
    assert done.returncode == 0, done.stderr
    assert "Toy sizes" in done.stdout
    assert "not judged" in done.stdout
    assert " met " not in done.stdout


def test_results_keep_a_row_of_every_benchmark() -> None:
    results = (BENCHMARKS / "RESULTS.md").read_text(encoding="utf-8")
    for name in [*QUICK, "brain_extraction"]:
        assert f"benchmarks/{name}.py" in results
