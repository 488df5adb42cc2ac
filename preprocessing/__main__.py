"""python -m preprocessing: build or update a cohort's shards on this machine."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from preprocessing.cohorts import LAYOUTS, find_scans
from stfmri.study.caches import configurations
from stfmri.study.config import Config
from stfmri.study.duplicates import FILE_NAME, sentence
from stfmri.study.errors import exit_on_error, resumable
from stfmri.study.words import listed

if TYPE_CHECKING:
    from preprocessing.build import Report

REJECTED_SHOWN = 10
EXAMPLES = """\
what it does:
  finds the cohort's scans, one or several contrasts a subject; finds the brain (a mask that the
  table names, the background of a stripped scan, or brain extraction); registers further contrasts
  to the first where their grids differ; scales each contrast's intensities in the brain to [0, 1];
  resamples to voxels along the world's axes, centred on the brain. Volumes go to a folder of
  data/cache under the root, with index.csv, qc.html to look at, and rejected.csv. With a sweep that
  compares contrasts or preprocessing, each gets a folder. Run again after adding scans or after an
  interruption: what is there already is not built again.

layouts (data=NAME; the keys of each are explained in conf/data/NAME.yaml):
LAYOUTS

examples:
  python -m preprocessing data=brats_ixi data.brats=~/BraTS/training data.ixi=~/IXI-T1
  python -m preprocessing data=table data.table=cohort.csv data.label=age_group --jobs 8
  python -m preprocessing data=brats2020 data.folder=~/BraTS2020 'data.contrasts=[t1ce,flair]'
  python -m preprocessing data=bids data.folder=~/study data.label=group data.name=study
  python -m preprocessing data=phantom data.folder=phantoms preprocessing.spacing_mm=4

exit status: 0 all scans kept; 1 some were rejected, or the build stopped; 2 the call was wrong.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, compose, find, build, report."""
    options = _parse(arguments)
    configs = configurations(options.overrides, options.sweep, options.root)
    # Heavy imports wait until the call is known to be right: --help and typing errors are instant.
    from preprocessing.extraction import extractor_named

    for config in configs:
        extractor_named(config.preprocessing.skullstrip)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    statuses = []
    for number, config in enumerate(configs, start=1):
        if len(configs) > 1:
            console.print(f"cache {number} of {len(configs)}: {config.cache.name}")
        statuses.append(_build(config, options.jobs, console))
    return max(statuses)


def _build(config: Config, jobs: int, console: Console) -> int:
    from preprocessing.build import BuildStoppedError, build
    from preprocessing.progress import shown_on

    scans = find_scans(config.data)
    jobs = jobs or config.preprocessing.jobs or len(os.sched_getaffinity(0))
    console.print(f"{len(scans)} scans of the cohort {config.data.name}, {jobs} at a time")
    try:
        report = build(config, scans, jobs, shown_on(console))
    except BuildStoppedError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    return tell(report, console)


def tell(report: Report, console: Console) -> int:
    """Print what a build came to; returns the exit status."""
    if report.unfinished:
        console.print(
            f"not finished, and nothing published: {', '.join(report.unfinished[:5])}; run again",
            style="yellow",
            markup=False,
        )
        return 1
    table = Table(title="Preprocessing", show_header=False, title_justify="left")
    table.add_row("volumes", f"{report.volumes}, {report.built} of them built now")
    table.add_row("rejected", f"{len(report.rejected)}")
    if report.left_out:
        table.add_row("left out by data.exclude", f"{report.left_out}")
    spent = ", ".join(f"{step} {seconds:.1f}" for step, seconds in report.seconds.items())
    table.add_row("seconds, summed over workers", spent)
    console.print(table)
    # Paths stand by themselves: a narrow table would cut them.
    console.print(f"index:   {report.cache / 'index.csv'}", markup=False)
    console.print(f"look at: {report.cache / 'qc.html'}", markup=False)
    if report.taken_back:
        console.print(
            f"left out before and taken back now: {listed(report.taken_back)}; to leave them "
            "out for good, write exclude: FILE under data in the sweep's file",
            style="yellow",
            markup=False,
        )
    for subject, reason in report.rejected[:REJECTED_SHOWN]:
        console.print(f"rejected {subject}: {reason}", style="yellow", markup=False)
    if len(report.rejected) > REJECTED_SHOWN:
        console.print(f"… and more, all in {report.cache / 'rejected.csv'}", markup=False)
    for pair in report.duplicates[:REJECTED_SHOWN]:
        console.print(
            f"almost the same: {sentence(pair)}, of two patients; if it is one person, give both "
            "scans one patient_id",
            style="yellow",
            markup=False,
        )
    if len(report.duplicates) > REJECTED_SHOWN:
        console.print(f"… and more, all in {report.cache / FILE_NAME}", markup=False)
    return 1 if report.rejected else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    width = max(map(len, LAYOUTS))
    layouts = [f"  {name:{width}}  {layout.label}" for name, layout in LAYOUTS.items()]
    parser = argparse.ArgumentParser(
        prog="python -m preprocessing",
        description="Build or update the preprocessed volumes of a cohort, on this machine.",
        epilog=EXAMPLES.replace("LAYOUTS", "\n".join(layouts)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sweep", metavar="NAME", help="take the values of conf/sweep/NAME.yaml")
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="the cache goes to DIR/data/cache (default: here)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=0,
        metavar="N",
        help="worker processes (default, and 0: one a core)",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="choices of conf/, as in the examples"
    )
    options = parser.parse_intermixed_args(arguments)
    if options.jobs < 0:
        parser.error(f"--jobs must be at least 1, found {options.jobs}")
    return options


if __name__ == "__main__":
    sys.exit(exit_on_error(resumable(main))())
