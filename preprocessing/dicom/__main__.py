"""python -m preprocessing.dicom: DICOM folders to NIfTI scans and a cohort table."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, track

from stfmri.study.errors import UserError, exit_on_error, resumable
from stfmri.study.files import absolute
from stfmri.study.locks import lock
from stfmri.study.words import listed

if TYPE_CHECKING:
    from preprocessing.dicom.plan import Row
    from preprocessing.dicom.series import Series

T = TypeVar("T")
LOG_WIDTH = 130
DONE = "converted"  # a row's result
EXAMPLES = """\
what it does:
  1. reads the headers of all DICOM images under --in, in folders of any layout, and lists their
     series in OUT/series.csv: what each seems to be (t1, t1ce, t2, flair, pd), why, and whether it
     is used. Localisers, maps, diffusion, secondary captures … are listed with the reason why not.
  2. asks whether that is right, on a terminal. Otherwise, look at OUT/series.csv, edit the columns
     `use` and `contrast` where they are wrong, and run the same command again.
  3. converts the used series with dcm2niix to OUT/scans, and writes OUT/cohort.csv: one row a
     patient and day, with an empty column `label` to fill in. What you fill in is kept when you run
     the command again, after new scans for example; what is converted is not converted again.

privacy:
  names, birth dates, ids, dates, UIDs, descriptions and places are written nowhere: not into a file
  name, not into a header. Patients get names like sub-4f2a90c31b, hashes with the secret key in
  OUT/private. From each header only the scanner (manufacturer, model, field strength), numbers of
  the sequence, the patient's age (90 for all above) and sex are kept; --no-covariates leaves the
  last two out. The face is still in a head scan: share scans only as your approval allows.

examples:
  python -m preprocessing.dicom --in export --out cohort
  python -m preprocessing.dicom --in export --out cohort --labels grades.csv --yes
  python -m preprocessing data=table data.table=cohort/cohort.csv 'data.contrasts=[t1ce,flair]'

exit status:
  0 every used series is in cohort.csv, and every patient has one; 1 some are not, or series.csv
  waits for your look; 2 the call was wrong, or there is no MR series to use.
"""


@exit_on_error
@resumable
def main(arguments: Sequence[str] | None = None) -> int:
    """Find, propose, have it confirmed, convert, tell."""
    asked = _parse(arguments)
    folders = [absolute(folder) for folder in asked.folders]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"--in must be a folder with DICOM files; there is no folder {folder}")
    # Reading DICOM takes a second to load: not for --help.
    from preprocessing.dicom.cohort import read_labels, write_cohort, write_mapping
    from preprocessing.dicom.convert import remove_leftovers
    from preprocessing.dicom.headers import find_headers
    from preprocessing.dicom.plan import propose, read_plan, write_plan
    from preprocessing.dicom.pseudonyms import open_pseudonyms
    from preprocessing.dicom.series import group
    from preprocessing.dicom.show import show_series, tell_found, tell_result

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = LOG_WIDTH  # 80 columns would break every cell
    out = absolute(asked.out)
    found = find_headers(folders, out.resolve(), _counting(console))
    series = group(found.headers)
    tell_found(found, series, console)
    with lock(out):
        remove_leftovers(out)
        known = read_plan(out)
        names = open_pseudonyms(out)
        labels = read_labels(absolute(asked.labels), series, names) if asked.labels else {}
        rows = propose(series, names, known)
        if not asked.covariates:
            rows = [replace(row, age="", sex="") for row in rows]
        write_plan(out, rows)
        by_name = {names.series(one.first): one for one in series}
        show_series(rows, by_name if asked.show else {}, console)
        _refuse_nothing_to_use(rows, out)
        if asked.keep_mapping:
            path = write_mapping(out, series, names)
            console.print(f"who is who (keep it private): {path}", markup=False)
        seen = all(row.series in known for row in rows)
        if not (asked.yes or seen or _agreed(rows, out, console)):
            return 1
        rows = _convert(rows, by_name, out, asked.jobs, console)
        write_plan(out, rows)
        unlabelled = write_cohort(out, rows, labels, covariates=asked.covariates)
    return tell_result(rows, unlabelled, out, console)


def _convert(
    rows: list[Row], found: dict[str, Series], out: Path, jobs: int, console: Console
) -> list[Row]:
    """Convert what is used and not yet there; a failure is a row's result."""
    from preprocessing.dicom.cohort import is_converted, scan_path
    from preprocessing.dicom.convert import convert
    from preprocessing.nifti import ScanError

    def convert_one(row: Row) -> Row:
        try:
            convert(found[row.series], scan_path(out, row), out)
        except ScanError as error:
            return replace(row, result=str(error))
        return replace(row, result=DONE)

    due = [r for r in rows if r.used and r.series in found and not is_converted(out, r)]
    results: dict[str, Row] = {}
    with ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0))) as pool:
        try:
            tasks = [pool.submit(convert_one, row) for row in due]
            for task in track(
                as_completed(tasks),
                "converting",
                total=len(due),
                console=console,
                disable=not console.is_terminal,
            ):
                results[task.result().series] = task.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    rows = [results.get(row.series, row) for row in rows]
    # A call that was killed converted series without saying so.
    return [replace(r, result=DONE) if r.used and is_converted(out, r) else r for r in rows]


def _agreed(rows: Sequence[Row], out: Path, console: Console) -> bool:
    """Whether the user, on a terminal, takes the proposal as it is."""
    used = sum(row.used for row in rows)
    if sys.stdin.isatty() and console.is_terminal:
        console.print(f"Convert the {used} series to use, as listed? [y/N] ", end="", markup=False)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return True
    console.print(
        f"nothing converted yet: look at {out / 'series.csv'}, edit the columns use and contrast "
        "where they are wrong, then run the same command again (or with --yes at once)",
        markup=False,
    )
    return False


def _refuse_nothing_to_use(rows: Sequence[Row], out: Path) -> None:
    if not any(row.used for row in rows):
        reasons = Counter(row.reason for row in rows).most_common()
        raise UserError(
            f"none of the {len(rows)} series can be used: "
            f"{listed([f'{count} × {reason}' for reason, count in reasons])}; to use one all the "
            f"same, set its columns use and contrast in {out / 'series.csv'}"
        )


def _counting(console: Console) -> Callable[[Iterable[T]], Iterable[T]]:
    """Show how many files were looked at, where there is a terminal."""

    def counted(files: Iterable[T]) -> Iterable[T]:
        columns = (SpinnerColumn(), TextColumn("{task.completed} files"), TimeElapsedColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("files", total=None)
            for file in files:
                yield file
                bar.advance(task)

    return counted


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m preprocessing.dicom",
        description="Turn DICOM folders into NIfTI scans and a cohort table, without names.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--in",
        dest="folders",
        nargs="+",
        required=True,
        metavar="DIR",
        help="folders of DICOM files, nested as they are",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--yes", action="store_true", help="take the contrasts as guessed")
    parser.add_argument(
        "--labels",
        metavar="CSV",
        help="fill in the labels: a table with the columns PatientID (as in the images) and label",
    )
    parser.add_argument(
        "--keep-mapping",
        action="store_true",
        help="write which pseudonym is which PatientID and date to OUT/private/mapping.csv",
    )
    parser.add_argument(
        "--no-covariates",
        dest="covariates",
        action="store_false",
        help="leave age and sex out of the table",
    )
    parser.add_argument(
        "--show",
        action="store_true",
        help="show each series' description and folder on the screen (they may name the patient); "
        "they are written nowhere",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=0,
        metavar="N",
        help="conversions at a time (default: one a core)",
    )
    options = parser.parse_args(arguments)
    if options.jobs < 0:
        parser.error(f"--jobs must be at least 1, found {options.jobs}")
    return options


if __name__ == "__main__":
    sys.exit(main())
