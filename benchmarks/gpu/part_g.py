"""Part G, the row `step` at the batch size at which each network is fastest."""

from __future__ import annotations

import step

from gpu.part_d import time_steps
from gpu.record import Part, Report


def run(report: Report) -> None:
    """Find each network's best batch size, and time its step there."""
    time_steps(report, step.BATCHES)


PART_G = Part("G", "the row step, at the best batch size", run)
