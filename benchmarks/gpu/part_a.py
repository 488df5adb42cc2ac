"""Part A, operators."""

from __future__ import annotations

from gpu.record import Part, Report


def run(report: Report) -> None:
    """Check the operators."""
    report.say("nothing to check yet")


PART_A = Part("A", "operators: convolutions, batch norm, augmentation", run)
