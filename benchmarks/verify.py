"""What it costs to verify that stored volumes are still those that were indexed.

A run hashes every volume of its fold in the background of its first epoch. Here all 591 of the
paper's cohort at 2 mm are hashed, and set against the epoch of 413 volumes of our fastest network
that this happens in. On a CPU both are processor seconds, which they compete for; on a GPU an epoch
takes turns with and without the verification, and what that adds to the wall clock counts.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from cohort import PAPER_SUBJECTS, PAPER_TRAINING, config_for, write_cache
from common import (
    Row,
    add_device,
    find_device,
    new_parser,
    publish,
    said_on_stderr,
    seconds_text,
    synchronise,
)
from training_steps import accelerator_for

from stfmri.learning.training import Run
from stfmri.study.config import Config
from stfmri.study.files import private_dir
from stfmri.study.overrides import replaced
from stfmri.study.shards import Volumes, read_index
from stfmri.study.verify import Verification

PACKAGES = ("torch", "accelerate", "h5py")
MARK = 0.02
FASTEST = "r3d_18"
CPU_SUBJECTS = 6  # of which an epoch on a CPU is measured


@dataclass(frozen=True)
class Verified:
    """What hashing a cohort took, its files in the page cache."""

    volumes: int
    gigabytes: float
    seconds: float
    processor_s: float


def verified(config: Config, rounds: int) -> Verified:
    """Verify a whole cohort, a few times."""
    rows = read_index(config.cache)
    volumes = Volumes(config.cache, rows)
    gigabytes = sum(volumes[row.subject_id].nbytes for row in rows) / 1e9
    taken = []
    for _ in range(rounds + 1):
        started = time.perf_counter(), time.process_time()
        Verification(volumes).require()
        taken.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    seconds, processor = (statistics.median(each) for each in zip(*taken[1:], strict=True))
    return Verified(len(rows), gigabytes, seconds, processor)


def training_of(config: Config, accelerator: Accelerator) -> Run:
    """A run of our fastest network that has not begun."""
    folder = private_dir(Path(config.root) / "runs" / FASTEST / "fold0")
    run = Run(replaced(config, {"model.name": FASTEST}), folder, accelerator)
    run.verification.require()  # the one of its own, which is measured apart
    return run


def epoch(training: Run, *, verifies: bool) -> tuple[float, float]:
    """Wall and processor seconds of an epoch, with a verification in its background or without."""
    synchronise(training.device)
    started = time.perf_counter(), time.process_time()
    verification = Verification(training.volumes) if verifies else None
    with contextlib.redirect_stdout(sys.stderr):
        training.train_epoch()
    if verification is not None:
        verification.require()
    synchronise(training.device)
    return time.perf_counter() - started[0], time.process_time() - started[1]


def added_on_gpu(training: Run, rounds: int) -> tuple[float, float]:
    """Seconds that a verification adds to an epoch, and those of the epoch; medians of pairs."""
    pairs = []
    for number in range(-1, rounds):
        order = (False, True) if number % 2 else (True, False)
        taken = {verifies: epoch(training, verifies=verifies)[0] for verifies in order}
        if number >= 0:
            pairs.append((taken[True] - taken[False], taken[False]))
    added, alone = (statistics.median(each) for each in zip(*pairs, strict=True))
    return added, alone


def measure(root: Path, accelerator: Accelerator, rounds: int, *, toy: bool) -> list[Row]:
    """The table: what verifying a cohort takes, and what it adds to the first epoch."""
    device = accelerator.device
    whole = config_for(root / "whole", toy=toy)
    with said_on_stderr("591 volumes are written, then verified"):
        write_cache(whole, 12 if toy else PAPER_SUBJECTS)
        done = verified(whole, rounds)
    if device.type == "cuda":
        with said_on_stderr("epochs with a verification and without"):
            added, alone = added_on_gpu(training_of(whole, accelerator), rounds)
    else:
        few = config_for(root / "few", toy=toy)
        write_cache(few, CPU_SUBJECTS)
        with said_on_stderr("epochs of a few volumes"):
            training = training_of(few, accelerator)
            taken = [epoch(training, verifies=False)[1] for _ in range(rounds + 1)][1:]
        alone = statistics.median(taken) / len(training.fold.train) * PAPER_TRAINING
        added = done.processor_s
    kind = "wall" if device.type == "cuda" else "processor"
    share = max(0.0, added) / alone
    return [
        Row(
            f"{done.volumes} volumes, {done.gigabytes:.2f} GB, verified",
            seconds_text(done.seconds),
            ratio=f"{done.gigabytes / done.seconds:.2f} GB/s",
        ),
        Row(
            f"added to the first epoch; peer: {PAPER_TRAINING} volumes, {FASTEST}, {kind} seconds",
            seconds_text(max(0.0, added)),
            seconds_text(alone),
            f"{share:.2%}",
            f"≤ {MARK:.0%}",
            share <= MARK,
        ),
    ]


def main() -> int:
    """Print the table; 1 where the mark is missed."""
    parser = new_parser(__doc__ or "")
    add_device(parser)
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement (default 3)")
    options = parser.parse_args()
    device = find_device(options.device)
    rounds = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as name:
        rows = measure(Path(name), accelerator_for(device), rounds, toy=options.quick)
    return publish("verify", rows, quick=options.quick, packages=PACKAGES, device=device)


if __name__ == "__main__":
    sys.exit(main())
