"""Part G, the row `step` at the batch size at which each network is fastest."""

from __future__ import annotations

import step

from gpu.part_d import time_steps
from gpu.record import Part, Report


def run(report: Report) -> None:
    """Find each network's best batch size, and time its step there."""
    if report.device.type != "cuda":
        report.say("only a GPU has a best batch size")
        return
    time_steps(report, step.speed_at_best)


PART_G = Part("G", "the row step, at the best batch size", run)
