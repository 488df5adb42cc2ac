"""Part E, the rows `input`, `verify` and `resume`: volumes on their way in, checkpoints out."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import input as input_row  # the benchmark, not Python's function
import resume
import verify
from accelerate.state import AcceleratorState
from cohort import config_for, write_cache
from training_steps import MODELS, accelerator_for, let_go

from gpu.record import Part, Report
from gpu.rows import add_rows

VOLUMES, ROUNDS = 148, 3


def run(report: Report) -> None:
    """Time all of them."""
    AcceleratorState._reset_state(reset_partial_state=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = config_for(folder / "root", toy=report.quick)
        subject_ids = write_cache(config, 8 if report.quick else VOLUMES)
        report.say("input")
        rows = input_row.read_rows(config, subject_ids, 2 * ROUNDS)
        taken, _ = input_row.augmented(
            config,
            subject_ids,
            folder,
            report.device,
            rounds=ROUNDS,
            workers=len(os.sched_getaffinity(0)),
            toy=report.quick,
        )
        add_rows(report, rows + input_row.augmented_rows(taken, report.device))
        accelerator = accelerator_for(report.device)
        report.say("verify")
        rounds = 1 if report.quick else ROUNDS
        add_rows(report, verify.measure(folder, accelerator, rounds, toy=report.quick))
        let_go(accelerator)
        for model in MODELS[-1:] if report.quick else MODELS:
            report.say(f"resume, {model}")
            training = resume.training_of(config, model, accelerator)
            row, arithmetic = resume.row_of(model, training, rounds)
            add_rows(report, [row], [arithmetic])
            del training
            let_go(accelerator)


PART_E = Part("E", "the rows input, verify and resume", run)
