"""The report of the GPU checks stops at the first bad figure and keeps what came before."""

from __future__ import annotations

import json
from pathlib import Path

import gpu_check
import pytest
import torch
from gpu.record import OutOfLimitsError, Part, Report


def report_for(folder: Path, quick: bool = False) -> Report:
    report = Report(torch.device("cpu"), quick, folder / "out" / "check.json")
    report.part = "X"
    return report


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (1.1, {"limit": 1.0}),
        (0.9, {"least": 1.0}),
        (float("nan"), {"limit": 1.0}),
        (float("nan"), {"least": 1.0}),
    ],
)
def test_a_figure_outside_its_limits_stops_the_part_and_is_written(
    tmp_path: Path, value: float, limits: dict[str, float]
) -> None:
    report = report_for(tmp_path)
    report.add("first", 1.0, limit=1.0)
    with pytest.raises(OutOfLimitsError, match="second"):
        report.add("second", value, **limits)
    written = json.loads(report.out.read_text(encoding="utf-8"))
    assert [figure["name"] for figure in written["figures"]] == ["first", "second"]
    assert "second" in written["outside"][0]


def test_figures_of_toy_sizes_are_not_judged(tmp_path: Path) -> None:
    report_for(tmp_path, quick=True).add("bad", 2.0, limit=1.0)


def test_no_part_runs_after_one_that_fails_and_the_reason_is_written(tmp_path: Path) -> None:
    ran: list[str] = []

    def broken(report: Report) -> None:
        ran.append(report.part)
        raise ValueError("a kernel is missing")

    report = report_for(tmp_path)
    parts = [Part(letter, "title", broken) for letter in "XY"]
    assert gpu_check.check(report, parts) == 1
    assert ran == ["X"]
    [failed] = json.loads(report.out.read_text(encoding="utf-8"))["outside"]
    assert "a kernel is missing" in failed
