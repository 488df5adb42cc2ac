"""Part D, the row `step`: a training step at batch 1 against the usual script's."""

from __future__ import annotations

from collections.abc import Callable

import roofline
import step
from accelerate.state import AcceleratorState
from common import Row, peer_off_cudnn
from training_steps import MODELS, accelerator_for, let_go

from gpu.record import Part, Report
from gpu.rows import judge_rows, note_rows
from stfmri.learning import device as devices

ROUNDS = 5


def run(report: Report) -> None:
    """Time each network's step at batch 1."""
    time_steps(report, step.speed)


def time_steps(report: Report, measure: Callable[..., list[Row]]) -> None:
    """Time each network's step.

    Args:
        measure: `step.speed` or `step.speed_at_best`.
    """
    AcceleratorState._reset_state(reset_partial_state=True)
    devices.set_arithmetic(deterministic=False)
    accelerator = accelerator_for(report.device)
    ceilings = roofline.measure(
        report.device, devices.resolve_precision("auto", report.device.type)
    )
    report.say(
        f"{ceilings.flops_per_s / 1e12:.3g} TFLOP/s, {ceilings.bytes_per_s / 1e9:.3g} GB/s measured"
    )
    if off := peer_off_cudnn(report.device):
        report.say(off)
    rows: list[Row] = []
    shape, rounds = (step.TOY_SHAPE, 2) if report.quick else (step.SHAPE, ROUNDS)
    for name in MODELS[-1:] if report.quick else MODELS:
        report.say(name)
        found = measure(name, accelerator, rounds, shape, ceilings)
        note_rows(report, found)
        rows += found
        let_go(accelerator)
    judge_rows(report, rows)


PART_D = Part("D", "the row step, at batch 1", run)
