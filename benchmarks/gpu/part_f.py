"""Part F, the row `study`: an epoch of the six variants, at 1, 2, 3 and 6 at a time."""

from __future__ import annotations

import tempfile
from pathlib import Path

import study
from cohort import config_for, write_cache
from common import peer_off_cudnn

from gpu.record import Part, Report
from gpu.rows import add_rows

SUBJECTS = 148


def run(report: Report) -> None:
    """Train the variants each way, once."""
    count = 6 if report.quick else SUBJECTS
    variants = study.VARIANTS[-2:] if report.quick else study.VARIANTS
    packings = [packed for packed in (1, 2, 3, 6) if packed <= len(variants)]
    with tempfile.TemporaryDirectory() as name:
        config = config_for(Path(name), toy=report.quick)
        write_cache(config, count)
        study.write_weights(Path(name))
        report.say(f"{count} subjects, {len(variants)} variants")
        taken = study.measure(
            config,
            variants,
            report.device.type,
            1,
            packings,
            lambda way, seconds: report.add(f"an epoch of each, {way}, seconds", seconds),
        )
    off = peer_off_cudnn(report.device)
    rows, notes = study.rows_of({count: taken}, judged=not off)
    add_rows(report, rows, [*notes, off] if off else notes)


PART_F = Part("F", "the row study, packed at 1, 2, 3 and 6", run)
