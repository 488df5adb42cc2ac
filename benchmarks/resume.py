"""What checkpoints cost: epochs of a run with one at their end, and without.

A run publishes a checkpoint at an epoch's end once 120 s have passed since the last one
(`checkpoint.every_s`), and at its end. Epochs of a run on random volumes of real size take turns,
with a checkpoint and without; what a checkpoint adds is set against the time between two of them
at the paper's cohort size, 413 training volumes.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import sys
import tempfile
import time
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
from training_steps import MODELS, accelerator_for, let_go

from stfmri.learning.training import Run
from stfmri.study.config import Config
from stfmri.study.config.training import CheckpointConfig
from stfmri.study.files import private_dir
from stfmri.study.overrides import replaced

PACKAGES = ("torch", "accelerate")
MARK = 0.05
SUBJECTS = {"cpu": 12, "cuda": PAPER_SUBJECTS}


def training_of(config: Config, model: str, accelerator: Accelerator) -> Run:
    """A run that has not begun."""
    config = replaced(config, {"model.name": model})
    run = private_dir(Path(config.root) / "runs" / model / "fold0")
    return Run(config, run, accelerator)


def measure(training: Run, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of epochs without a checkpoint and with one, a pair a round."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for number in range(-1, rounds):
        for saves in (False, True) if number % 2 else (True, False):
            started = _clock(training)
            with contextlib.redirect_stdout(sys.stderr):
                training.train_epoch()
            if saves:
                training.save_checkpoint()
            if number >= 0:
                seconds[saves].append(_clock(training) - started)
    return seconds[False], seconds[True]


def _clock(training: Run) -> float:

    synchronise(training.device)
    return time.perf_counter()


def row_of(model: str, training: Run, rounds: int) -> tuple[Row, str]:
    """The share of a checkpoint in the time between two, and how it comes about."""
    without, with_one = measure(training, rounds)
    saves = rounds + 1
    added = statistics.median(b - a for a, b in zip(without, with_one, strict=True))
    itself = training.history.timings["checkpoint_s"] / saves
    cost = max(added, itself)  # its writing, and what it may leave for the next epoch to wait for
    volumes = len(training.fold.train)
    epoch = statistics.median(without) / volumes * PAPER_TRAINING
    every = CheckpointConfig().every_s
    epochs = math.ceil(every / epoch)
    share = cost / (epochs * epoch)
    row = Row(
        f"{model}: a checkpoint; peer: the {epochs} × {PAPER_TRAINING} volumes between two",
        seconds_text(cost),
        seconds_text(epochs * epoch),
        f"{share:.2%}",
        f"≤ {MARK:.0%}",
        share <= MARK,
    )
    arithmetic = (
        f"{model}: an epoch of {volumes} volumes took {seconds_text(statistics.median(without))}, "
        f"hence {seconds_text(epoch)} for {PAPER_TRAINING}; saving took {seconds_text(itself)}, "
        f"epochs with it were {added:.2f} s longer."
    )
    return row, arithmetic


def main() -> int:
    """Print the table; 1 where the mark is missed."""
    parser = new_parser(__doc__ or "")
    add_device(parser)
    parser.add_argument("--rounds", type=int, default=3, help="pairs of epochs (default 3)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument(
        "--subjects", type=int, default=0, help="of which 70 %% train (default 12, GPU 591)"
    )
    options = parser.parse_args()
    device = find_device(options.device)
    accelerator = accelerator_for(device)
    subjects = options.subjects or (12 if options.quick else SUBJECTS[device.type])
    rows, notes = [], []
    with tempfile.TemporaryDirectory() as name:
        config = config_for(Path(name), toy=options.quick)
        write_cache(config, subjects)
        for model in options.models[:1] if options.quick else options.models:
            with said_on_stderr(model):
                training = training_of(config, model, accelerator)
                row, arithmetic = row_of(model, training, 1 if options.quick else options.rounds)
            rows.append(row)
            notes.append(arithmetic)
            del training
            let_go(accelerator)
    return publish(
        "resume", rows, quick=options.quick, packages=PACKAGES, device=device, notes=notes
    )


if __name__ == "__main__":
    sys.exit(main())
