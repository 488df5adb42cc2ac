"""Run the baselines of a sweep that are not done: `python -m stfmri.baselines --sweep NAME`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stfmri.study.errors import exit_on_error, resumable
from stfmri.study.files import absolute
from stfmri.study.runs import Run, Sweep
from stfmri.study.sweep_file import load_sweep, sweep_folder

if TYPE_CHECKING:
    from stfmri.study.splits import Subject

EPILOG = """\
A baseline is what a score must be set beside before it means anything: a linear model of the
volumes' intensity histogram, of the brain's shape, of the volume at 8 mm, or of columns of the
cohort table; and, as a control, the best of them on shuffled labels, which must score chance. They
see the same folds as the networks, need no GPU, and take minutes.

launch/submit.py runs them with the sweep. This command runs here what is not done yet, into
runs/<sweep>/baseline-<name>/fold<k>/, for example after a failure. Where variants read volumes of
several kinds (contrasts, voxel sizes), those that see images run on each. Which a sweep has was
chosen with sweep.baselines=[…] when it was first submitted. Features of the volumes are kept in
the cache, in features/.

exit status: 0 all are done; 1 some are not; 2 the call was wrong"""


def run_here(sweep: Sweep, console: Console) -> int:
    """Run the sweep's baselines in this process; 0 where all of them are done."""
    # scikit-learn takes a second to import: --help and a wrong name come first.
    from stfmri.evidence.baselines.run import run_baselines

    if not sweep.baselines:
        _say(console, f"sweep {sweep.name} was submitted without baselines that fit its cohort")
        return 0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    runs = sorted(sweep.baseline_runs, key=lambda run: run.fold)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        done = bar.add_task("baselines", total=len(runs))

        def features(subjects: Sequence[Subject]) -> Iterable[Subject]:
            return bar.track(subjects, description="features of volumes")

        def ended(run: Run) -> None:
            bar.update(done, advance=1, description=run.name)

        failures = run_baselines(sweep, runs, ended, features)
    for failure in failures:
        _say(console, f"{failure.run.name} failed: {failure.error}")
    _say(console, f"{len(runs) - len(failures)} of {len(runs)} runs of baselines are done")
    return 1 if failures else 0


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False, highlight=False)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m stfmri.baselines",
        description="Run the baselines of a sweep that are not done, on this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--sweep", required=True, metavar="NAME", help="name of the sweep, as in runs/<NAME>/"
    )
    made.add_argument(
        "--root",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="the folder that holds runs/ and data/ (default: the current one)",
    )
    return made


@exit_on_error
@resumable
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the baselines of the sweep that the command line names."""
    options = parser().parse_args(arguments)
    sweep = load_sweep(sweep_folder(absolute(options.root).resolve(), options.sweep))
    return run_here(sweep, Console(stderr=True))


if __name__ == "__main__":
    sys.exit(main())
