"""Collecting a sweep: time and memory of 18, 180 and 1,800 runs of 178 predictions each.

Each sweep is written as it lies on disk after training, with simulated predictions on the paper's
test sets. `python -m stfmri.collect` reads it and writes tables, figures and the report; the peer
is one pass of scikit-learn over the same tables, which writes nothing.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from cohort import CLASSES, PAPER_SUBJECTS, config_for, write_cache
from common import Row, new_parser, publish, said_on_stderr, seconds_text

from stfmri.study import predictions, splits
from stfmri.study.config import Config
from stfmri.study.config.sweep import SweepConfig
from stfmri.study.expansion import expand
from stfmri.study.files import write_atomic
from stfmri.study.runs import Run, Sweep
from stfmri.study.sweep_file import write_sweep

PACKAGES = ("scikit-learn", "pandas", "numpy", "scipy", "matplotlib")
CHECKOUT = Path(__file__).resolve().parent.parent
MODELS = ("r3d_18", "r2plus1d_18", "mc3_18")
FOLDS = 3
RUNS = (18, 180, 1800)
LINEAR_MARK = 1.25  # a run among the most, over a run among fewer
SECONDS_MARK, MEMORY_MARK = 60.0, 1e9
NAME = "simulated"


def write_simulated(root: Path, runs: int, subjects: int) -> Sweep:
    """A finished sweep of that many runs: three networks, two weights, seeds, three folds."""
    config = config_for(root, toy=True)
    config = replace(config, split=replace(config.split, n=FOLDS))
    write_cache(config, subjects)
    seeds = runs // (len(MODELS) * 2 * FOLDS)
    axes = {"train.seed": tuple(range(seeds))} if seeds > 1 else {}
    sweep_config = SweepConfig(name=NAME, models=MODELS, weights=("scratch", "kinetics"), axes=axes)
    config = replace(config, sweep=sweep_config)
    sweep = Sweep(config, expand(config, lambda choices: _chosen(config, choices["model"])))
    write_sweep(sweep)
    split = splits.ensure(config)
    generator = np.random.default_rng(0)
    for number, run in enumerate(sweep.runs):
        tested = [split.subjects[name] for name in split.folds[run.fold].test]
        truth = np.array([CLASSES.index(subject.label) for subject in tested])
        scores = generator.normal(size=(len(tested), len(CLASSES)))
        scores[np.arange(len(tested)), truth] += 1.5
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        predictions.write(
            run.folder / predictions.FILE_NAME,
            subjects=tested,
            fold=run.fold,
            classes=CLASSES,
            probabilities=probabilities,
        )
        _write_records(run, number)
    return sweep


def _chosen(config: Config, model: str) -> Config:
    return replace(config, model=replace(config.model, name=model))


def _write_records(run: Run, number: int) -> None:
    """What else a run leaves: 50 epochs, and where its numbers come from."""
    lines = ["epoch,train_loss,seconds,samples_per_s,wait_share"]
    lines += [f"{epoch},{0.7 / epoch + number * 1e-4},60,7,0.01" for epoch in range(1, 51)]
    write_atomic(run.folder / "metrics.csv", "\n".join(lines) + "\n")
    write_atomic(
        run.folder / "provenance.json",
        '{"device": "GPU", "host": "node", "precision": "fp16", "parameters": 33148995, '
        '"versions": {"torch": "2.11.0"}, "timings": {"train_s": 3000, "startup_s": 10}, '
        '"peak_memory_bytes": 4200000000, "code": {"commit": "0123456789abcdef"}}',
    )


def one_pass(root: Path) -> None:
    """The peer: scikit-learn's metrics of every table, in one process."""
    import pandas as pd
    from sklearn.metrics import (
        accuracy_score,
        confusion_matrix,
        precision_recall_fscore_support,
    )

    for path in sorted((root / "runs" / NAME).glob("*/fold*/predictions.csv")):
        table = pd.read_csv(path)
        truth, found = table["label"], table["prediction"]
        confusion_matrix(truth, found, labels=CLASSES)
        precision_recall_fscore_support(truth, found, labels=CLASSES, zero_division=0)
        accuracy_score(truth, found)


def timed(command: Sequence[str]) -> tuple[float, float]:
    """Seconds of a process, and its peak memory in bytes.

    Raises:
        RuntimeError: where it fails.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=None)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss * 1024.0


def measure(root: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """Median seconds and largest memory of ours and of the peer, in turn."""
    commands = {
        "ours": [sys.executable, "-m", "stfmri.collect", "--sweep", NAME, "--root", str(root)],
        "peer": [sys.executable, str(Path(__file__).resolve()), "--one-pass", str(root)],
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            taken[name].append(timed(command))
    return {
        name: (statistics.median(s for s, _ in values), max(m for _, m in values))
        for name, values in taken.items()
    }


def rows_of(measured: dict[int, dict[str, tuple[float, float]]]) -> list[Row]:
    """A row a sweep, then whether a run costs the same in a large one, then the largest's marks."""
    rows = [
        Row(
            f"{runs:,} runs",
            f"{seconds_text(found['ours'][0])}, {found['ours'][1] / 1e9:.2f} GB",
            f"{seconds_text(found['peer'][0])}, {found['peer'][1] / 1e9:.2f} GB",
            f"{found['peer'][0] / found['ours'][0]:.2f}×",
        )
        for runs, found in measured.items()
    ]
    few, middle, most = measured
    early = (measured[middle]["ours"][0] - measured[few]["ours"][0]) / (middle - few)
    late = (measured[most]["ours"][0] - measured[middle]["ours"][0]) / (most - middle)
    seconds, memory = measured[most]["ours"]
    return [
        *rows,
        Row(
            f"a further run, from {middle:,} to {most:,}; peer: from {few} to {middle:,}",
            seconds_text(late),
            seconds_text(early),
            f"{late / early:.2f}×",
            f"linear (≤ {LINEAR_MARK}×)",
            late / early <= LINEAR_MARK,
        ),
        Row(
            f"{most:,} runs, time",
            seconds_text(seconds),
            mark=f"< {SECONDS_MARK:g} s",
            met=seconds < SECONDS_MARK,
        ),
        Row(
            f"{most:,} runs, memory",
            f"{memory / 1e9:.2f} GB",
            mark=f"< {MEMORY_MARK / 1e9:g} GB",
            met=memory < MEMORY_MARK,
        ),
    ]


def main() -> int:
    """Print the table; 1 where a mark is missed."""
    parser = new_parser(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default 3)")
    parser.add_argument("--one-pass", type=Path, metavar="ROOT", help="be the peer, once")
    options = parser.parse_args()
    if options.one_pass is not None:
        one_pass(options.one_pass)
        return 0
    rounds = 1 if options.quick else options.rounds
    measured = {}
    for runs in (18, 36, 54) if options.quick else RUNS:
        with tempfile.TemporaryDirectory() as name, said_on_stderr(f"{runs} runs"):
            write_simulated(Path(name), runs, 60 if options.quick else PAPER_SUBJECTS)
            measured[runs] = measure(Path(name), rounds)
    return publish("collect", rows_of(measured), quick=options.quick, packages=PACKAGES)


if __name__ == "__main__":
    sys.exit(main())
