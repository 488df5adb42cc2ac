"""Brain extraction on whole heads against reference masks: Dice and seconds.

    python benchmarks/brain_extraction.py TABLE [--method brainextractor] [--jobs N] [--masks DIR]

TABLE is a cohort table whose `mask` column names the references; it is used for nothing else.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from preprocessing.nifti import parse, read_bytes
from preprocessing.skullstrip import Mask, find_brain, read_mask, resolve
from preprocessing.worker import one_thread
from stfmri.errors import exit_on_error

MEDIAN_BAR, LEAST_BAR = 0.93, 0.88


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
    """Measure every head of the table and print the sum of it; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description="Dice of brain extraction against given masks.")
    parser.add_argument("table", type=Path)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--masks", type=Path, default=Path("data/cache/masks"))
    options = parser.parse_args()
    with options.table.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    folder = options.table.parent
    paths = [(folder / line["path"], folder / line["mask"]) for line in lines]
    job = partial(measure, resolve(options.method), options.masks)
    context = get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context, initializer=one_thread) as pool:
        results = list(pool.map(job, paths))
    for line, (score, seconds) in sorted(
        zip(lines, results, strict=True), key=lambda pair: pair[1][0]
    )[:5]:
        print(f"{line['subject_id']}: Dice {score:.3f}, {seconds:.1f} s")
    scores, seconds = np.array(results).T
    print(
        f"{len(scores)} heads, {resolve(options.method)}: Dice median {np.median(scores):.4f}, "
        f"least {scores.min():.4f}; {np.median(seconds):.2f} s a head, {options.jobs} at a time"
    )
    return 0 if np.median(scores) >= MEDIAN_BAR and scores.min() >= LEAST_BAR else 1


if __name__ == "__main__":
    sys.exit(exit_on_error(main)())
