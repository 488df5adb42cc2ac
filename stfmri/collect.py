"""Collect a sweep: tables, figures, summary.json and report.html.

    python -m stfmri.collect --sweep full

reads runs/<sweep>/, and writes results/<sweep>/:

    report.html     one self-contained page; open this first
    summary.json    every figure, for other programs
    tables/         CSV (full precision), Markdown and LaTeX
    figures/        PNG and PDF
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from stfmri.study import locks
from stfmri.study.errors import exit_on_error
from stfmri.study.files import absolute
from stfmri.study.results import predictions_sha256
from stfmri.study.runs import Run, Sweep
from stfmri.study.sweep_file import load_sweep, sweep_folder

if TYPE_CHECKING:
    from stfmri.evidence.collected import RunRecord

WORK_FOLDER = "collect"  # in the sweep's: the lock, and the list of files that were written
WAIT_S = 600.0  # for another collection of the sweep; one takes seconds, of a thousand runs minutes
LOG_WIDTH = 110  # columns in a log, where rich would assume 80 and break names and intervals
EPILOG = """\
Exit status: 0 written; 1 runs are missing and nothing was written; 2 the call was wrong.
Of an incomplete sweep nothing is written, since a mean over the folds that happened to finish is
not the mean that was asked for; --allow-partial writes it all the same, marked as incomplete.

Every table also holds the baselines: those that see the images, which were run with the sweep, and
look-ups from the cohort table. A score means little until it is above them.
"""


def collect(folder: Path, results: Path, allow_partial: bool, console: Console) -> int:
    """Read the sweep in `folder` and write what it says to `results`.

    Returns:
        Exit status: 0 written, 1 not written because runs are missing.

    Raises:
        UserError: if the sweep, its split or its index cannot be read.
        RunHeldError: if another collection of the sweep does not end.
    """
    sweep = load_sweep(folder)
    # One at a time, each reading the runs in its turn: the last to write has the newest evidence.
    with locks.lock(folder / WORK_FOLDER, wait_s=WAIT_S):
        return _collect(sweep, results, allow_partial, console)


def _collect(sweep: Sweep, results: Path, allow_partial: bool, console: Console) -> int:
    # Matplotlib and SciPy take seconds to import: --help and a wrong name come first.
    from stfmri.evidence.collecting import collect_evidence
    from stfmri.evidence.score_tables import scores_table
    from stfmri.evidence.sentences import beats_chance, headline
    from stfmri.evidence.summarise import summarise
    from stfmri.evidence.tables import to_terminal
    from stfmri.evidence.write import write_results

    def progress(runs: Sequence[Run]) -> Iterable[Run]:
        return track(
            runs,
            f"reading {len(runs)} runs",
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    # Before they are read: predictions that come in the meantime make these results old.
    sha256 = predictions_sha256(sweep)
    evidence = collect_evidence(sweep, progress)
    for note in evidence.split_notes:
        console.print(f"split: {note}", style="yellow", soft_wrap=True, markup=False)
    for note in evidence.chosen.notes:
        console.print(f"selection: {note}", style="yellow", soft_wrap=True, markup=False)
    if evidence.missing:
        _tell_missing(evidence.records, allow_partial, console)
        if not allow_partial:
            return 1
    for note in evidence.seed_notes:
        console.print(note, style="yellow", soft_wrap=True, markup=False)
    with console.status("bootstrap over patients, tables, figures"):
        record = sweep.folder / WORK_FOLDER / "written.txt"
        summary = summarise(evidence, sweep.config.data.subgroups)
        report = write_results(summary, results, record, predictions_sha256=sha256)
    terminal = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    terminal.print(to_terminal(scores_table(summary), sweep.note))
    for sentence in headline(summary):
        terminal.print(sentence, markup=False, highlight=False)
    if beats_chance(summary) is False and sweep.runs[0].config_file.is_file():
        console.print(
            "to see whether data, settings or a bug are the cause: python -m stfmri.check --config "
            f"{sweep.runs[0].config_file}",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )
    console.print(f"written: {report}", soft_wrap=True, markup=False, highlight=False)
    return 0


def _tell_missing(records: Sequence[RunRecord], allow_partial: bool, console: Console) -> None:
    """Name the runs without evidence, each with its reason."""
    missing = [record for record in records if record.missing_because]
    console.print(
        f"incomplete: {len(missing)} of {len(records)} runs have no valid predictions",
        highlight=False,
    )
    for record in missing:
        console.print(
            f"  {record.run.name}: {record.missing_because}",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )
    if not allow_partial:
        console.print(
            "nothing written; submit the sweep again to run them, or add --allow-partial",
            highlight=False,
        )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stfmri.collect",
        description="Turn the predictions of a sweep into tables, figures, summary.json and "
        "report.html, under results/<sweep>/.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--sweep", required=True, metavar="NAME", help="name of the sweep, as in runs/<NAME>/"
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="the folder that holds runs/, results/ and data/ (default: the current one)",
    )
    parser.add_argument(
        "--allow-partial",
        action="store_true",
        help="write what there is of an incomplete sweep, marked as incomplete",
    )
    return parser


@exit_on_error
def main(arguments: Sequence[str] | None = None) -> int:
    """Collect the sweep that the command line names."""
    options = parser().parse_args(arguments)
    root = absolute(options.root).resolve()
    folder = sweep_folder(root, options.sweep)
    results = root / "results" / options.sweep
    return collect(folder, results, options.allow_partial, Console(stderr=True))


if __name__ == "__main__":
    sys.exit(main())
