"""Brain extraction on whole heads against reference masks: Dice and seconds.

The table's `mask` column names the references, which are used for nothing else. The worst five
heads are named on standard error: look at those.
"""

from __future__ import annotations

import csv
import hashlib
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from common import Row, new_parser, publish, seconds_text

from preprocessing.nifti import parse, read_bytes
from preprocessing.skullstrip import Mask, find_brain, read_mask, resolve
from preprocessing.worker import one_thread
from stfmri.study.errors import exit_on_error

PACKAGES = ("brainextractor", "numba", "torchio")
MEDIAN_MARK, LEAST_MARK = 0.93, 0.88


def dice(first: Mask, second: Mask) -> float:
    """Twice the overlap over the sum of the volumes, 0 to 1."""
    return float(2 * np.count_nonzero(first & second) / (first.sum() + second.sum()))


def measure(method: str, masks: Path, paths: tuple[Path, Path]) -> tuple[float, float]:
    """Dice and seconds of one head."""
    content = read_bytes(paths[0])
    image = parse(content)
    start = time.perf_counter()
    digest = hashlib.sha256(content).hexdigest()
    found = find_brain(image, digest, None, False, method, masks)
    return dice(found, read_mask(paths[1], image)), time.perf_counter() - start


def main() -> int:
    """Measure every head of the table; 1 where a mark is missed."""
    parser = new_parser(
        __doc__ or "", "Each head is extracted anew: masks kept before are not read."
    )
    parser.add_argument("table", type=Path, help="a cohort table with the columns path and mask")
    parser.add_argument("--method", default="auto", help="auto, brainextractor or fsl")
    parser.add_argument("--jobs", type=int, default=1, help="heads at a time (default 1)")
    options = parser.parse_args()
    with options.table.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    lines = lines[:2] if options.quick else lines
    folder = options.table.parent
    paths = [(folder / line["path"], folder / line["mask"]) for line in lines]
    method = resolve(options.method)
    context = get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as masks,
        ProcessPoolExecutor(options.jobs, mp_context=context, initializer=one_thread) as pool,
    ):
        results = list(pool.map(partial(measure, method, Path(masks)), paths))
    by_score = sorted(zip(lines, results, strict=True), key=lambda pair: pair[1][0])
    for line, (score, seconds) in by_score[:5]:
        print(f"{line['subject_id']}: Dice {score:.3f}, {seconds:.1f} s", file=sys.stderr)
    scores, times = np.array(results).T
    middle, least = float(np.median(scores)), float(scores.min())
    what = f"{len(scores)} heads, {method}"
    rows = [
        Row(
            f"{what}: Dice, median",
            f"{middle:.4f}",
            mark=f"≥ {MEDIAN_MARK}",
            met=middle >= MEDIAN_MARK,
        ),
        Row(
            f"{what}: Dice, least", f"{least:.4f}", mark=f"≥ {LEAST_MARK}", met=least >= LEAST_MARK
        ),
        Row(f"a head, {options.jobs} at a time", seconds_text(float(np.median(times)))),
    ]
    return publish("brain extraction", rows, quick=options.quick, packages=PACKAGES)


if __name__ == "__main__":
    sys.exit(exit_on_error(main)())
