"""How soon things start: a run's first step, and the plan of a sweep.

A run starts as `python -m stfmri.train` on the paper's cohort (591 volumes, 413 of them loaded for
training) and counts until it announces its first epoch. Its peer only imports torch, torchvision
and accelerate. A plan is `launch/submit.py --dry-run`, of 18 runs and of about a thousand.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cohort import PAPER_SUBJECTS, config_for, write_cache
from common import (
    Row,
    alternate,
    new_parser,
    paired_ratio,
    publish,
    said_on_stderr,
    seconds_text,
)

from stfmri.study.config import save
from stfmri.study.config.training import ModelConfig
from stfmri.study.files import private_dir
from stfmri.study.overrides import replaced

PACKAGES = ("torch", "torchvision", "accelerate", "hydra-core", "submitit")
CHECKOUT = Path(__file__).resolve().parent.parent
IMPORTS = "import torch, torchvision, accelerate; print('ready', flush=True)"
ANNOUNCED = " training, "  # of the line that names the fold, just before the first step
START_MARK, PLAN_MARK_S, LINEAR_MARK = 1.25, 2.0, 1.25
SEEDS = (1, 14, 28, 56)  # 18 runs for each: 18, 252, 504, 1008


def until_said(command: Sequence[str], word: str) -> None:
    """Start a process, wait until it prints a line with `word`, and end it.

    Raises:
        RuntimeError: where it ends without.
    """
    process = subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        said = any(word in line for line in process.stdout)
        process.kill()
        if not said:
            message = process.stderr.read() if process.stderr else ""
            raise RuntimeError(f"{' '.join(command)} ended too early: {message}")


def first_step(folder: Path, model: str, toy: bool) -> list[str]:
    """The command that trains a network of the cohort in `folder`."""
    config = config_for(folder, toy=toy)
    config = replaced(config, {"model.name": model, "train.epochs": 1})
    run = private_dir(folder / "runs" / "startup" / model / "fold0")
    save(config, run / "config.yaml")
    return [sys.executable, "-m", "stfmri.train", "--config", str(run / "config.yaml")]


def start_row(folder: Path, subjects: int, rounds: int, toy: bool) -> Row:
    """A run's start beside the bare imports."""
    write_cache(config_for(folder, toy=toy), subjects)
    command = first_step(folder, ModelConfig().name, toy)
    taken = alternate(
        {
            "run": partial(until_said, command, ANNOUNCED),
            "imports": partial(until_said, [sys.executable, "-c", IMPORTS], "ready"),
        },
        rounds,
    )
    ratio = paired_ratio(taken["run"], taken["imports"])
    return Row(
        f"process start to first step, {subjects} volumes; peer: the imports",
        seconds_text(statistics.median(taken["run"])),
        seconds_text(statistics.median(taken["imports"])),
        f"{ratio:.2f}×",
        f"≤ {START_MARK}×",
        ratio <= START_MARK,
    )


def plan(folder: Path, seeds: int) -> None:
    """Show the plan of 18 runs for each seed; writes nothing.

    Raises:
        RuntimeError: where it fails.
    """
    command = [sys.executable, "launch/submit.py", "--sweep", "full", "--root", str(folder)]
    command += ["--dry-run", f"data.brats={folder}", f"data.ixi={folder}"]
    if seeds > 1:
        command.append(f"sweep.axes={{train.seed: [{','.join(map(str, range(seeds)))}]}}")
    environment = os.environ | {"COLUMNS": "160"}
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)


def plan_rows(folder: Path, seeds: Sequence[int], rounds: int) -> list[Row]:
    """Seconds of a plan by its number of runs, and whether each run costs the same."""
    taken = alternate({str(count): partial(plan, folder, count) for count in seeds}, rounds)
    middle = {18 * count: statistics.median(taken[str(count)]) for count in seeds}
    rows = []
    for count, seconds in middle.items():
        judged = count == 18
        rows.append(
            Row(
                f"submit --dry-run, {count:,} runs",
                seconds_text(seconds),
                mark=f"≤ {PLAN_MARK_S:g} s" if judged else "",
                met=seconds <= PLAN_MARK_S if judged else None,
            )
        )
    few, half, all_ = (list(middle)[number] for number in (0, -2, -1))
    early = (middle[half] - middle[few]) / (half - few)
    late = (middle[all_] - middle[half]) / (all_ - half)
    rows.append(
        Row(
            f"seconds a further run, from {half:,} to {all_:,}; peer: from {few} to {half:,}",
            seconds_text(late),
            seconds_text(early),
            f"{late / early:.2f}×",
            f"linear (≤ {LINEAR_MARK}×)",
            late / early <= LINEAR_MARK,
        )
    )
    return rows


def main() -> int:
    """Print the table; 1 where a mark is missed."""
    parser = new_parser(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default 5)")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with said_on_stderr("a run's start"):
            subjects = 20 if options.quick else PAPER_SUBJECTS
            rows = [start_row(folder, subjects, rounds, options.quick)]
        with said_on_stderr("plans"):
            seeds = (1, 2, 4) if options.quick else SEEDS
            rows += plan_rows(folder, seeds, rounds)
    return publish("startup", rows, quick=options.quick, packages=PACKAGES)


if __name__ == "__main__":
    sys.exit(main())
