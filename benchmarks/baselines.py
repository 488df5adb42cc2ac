"""Baselines: time and memory of all of them on the paper's cohort, three folds.

A cohort of seeded random volumes is written straight as a cache, and
`python -m stfmri.baselines` runs every baseline on every fold: it extracts the features of all
volumes, then fits. Once more with the features at hand, it fits alone. There is no peer.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from cohort import PAPER_SUBJECTS, config_for, write_cache
from common import Row, new_parser, publish, said_on_stderr, seconds_text

from stfmri.evidence.baselines import fitting_baselines
from stfmri.study.config.data import DataConfig
from stfmri.study.config.sweep import SweepConfig
from stfmri.study.expansion import expand
from stfmri.study.files import write_atomic
from stfmri.study.runs import Sweep
from stfmri.study.shards import read_index
from stfmri.study.splits import subjects_of
from stfmri.study.sweep_file import write_sweep

PACKAGES = ("scikit-learn", "numpy", "scipy")
CHECKOUT = Path(__file__).resolve().parent.parent
FOLDS = 3
QUICK_SUBJECTS = 60
SECONDS_MARK, MEMORY_MARK = 180.0, 2e9
NAME = "baselines"
COVARIATE = "age"


def write_study(root: Path, *, quick: bool) -> Sweep:
    """A sweep of one network that is never trained, with every baseline on three folds."""
    config = config_for(root, toy=quick)
    config = replace(config, split=replace(config.split, n=FOLDS))
    write_cache(config, QUICK_SUBJECTS if quick else PAPER_SUBJECTS)
    _add_covariate(config.cache / "index.csv")
    data = DataConfig(name=config.data.name, classes=config.data.classes, covariates=(COVARIATE,))
    config = replace(config, data=data, sweep=SweepConfig(name=NAME))
    index = config.cache / "index.csv"
    subjects = subjects_of(read_index(config.cache), config.data.label, index)
    runs = expand(config, lambda choices: config)  # noqa: ARG005
    sweep = Sweep(config, runs, baselines=fitting_baselines(config, subjects))
    write_sweep(sweep)
    return sweep


def _add_covariate(index: Path) -> None:
    with index.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    lines = [[*header, COVARIATE], *([*row, str(n * 37 % 60 + 20)] for n, row in enumerate(rows))]
    write_atomic(index, "".join(",".join(line) + "\n" for line in lines))


def timed(root: Path) -> tuple[float, float]:
    """Seconds of running every baseline that is not done, and the peak memory in bytes.

    Raises:
        RuntimeError: where that fails.
    """
    command = [sys.executable, "-m", "stfmri.baselines", "--sweep", NAME, "--root", str(root)]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - began, usage.ru_maxrss * 1024.0


def fit_seconds(sweep: Sweep) -> dict[str, float]:
    """What each baseline's fits took over the folds, as their runs say."""
    spent = dict.fromkeys(sweep.baselines, 0.0)
    for run in sweep.baseline_runs:
        record = json.loads((run.folder / "provenance.json").read_text(encoding="utf-8"))
        spent[run.baseline] += record["timings"]["fit_s"]
    return spent


def main() -> int:
    """Print the table; 1 where a mark is missed."""
    options = new_parser(__doc__ or "").parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        with said_on_stderr("writing the cohort"):
            sweep = write_study(root, quick=options.quick)
        with said_on_stderr("all baselines, from the volumes"):
            seconds, memory = timed(root)
        spent = fit_seconds(sweep)
        for run in sweep.baseline_runs:
            shutil.rmtree(run.folder)
        with said_on_stderr("all baselines, features at hand"):
            again, memory_again = timed(root)
    subjects = QUICK_SUBJECTS if options.quick else PAPER_SUBJECTS
    what = f"{subjects} volumes, {FOLDS} folds, {len(spent)} baselines"
    peak = max(memory, memory_again)
    rows = [
        Row(
            f"{what}, time",
            seconds_text(seconds),
            mark=f"< {SECONDS_MARK:g} s",
            met=seconds < SECONDS_MARK,
        ),
        Row(
            f"{what}, memory",
            f"{peak / 1e9:.2f} GB",
            mark=f"< {MEMORY_MARK / 1e9:g} GB",
            met=peak < MEMORY_MARK,
        ),
        Row("features at hand, time", seconds_text(again)),
        *(Row(f"fits of {name}", seconds_text(took)) for name, took in spent.items()),
    ]
    return publish("baselines", rows, quick=options.quick, packages=PACKAGES)


if __name__ == "__main__":
    sys.exit(main())
