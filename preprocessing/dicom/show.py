"""What the terminal shows: what was found, each series, what came of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from preprocessing.dicom.cohort import is_converted
from preprocessing.dicom.headers import Found
from preprocessing.dicom.plan import Row
from preprocessing.dicom.series import Series
from stfmri.study.errors import UserError
from stfmri.study.words import listed, plural

MOST_ROWS = 40
MOST_LINES = 10


def tell_found(found: Found, series: Sequence[Series], console: Console) -> None:
    """Say what was under --in.

    Raises:
        UserError: where no DICOM image was.
    """
    others = [
        plural(found.not_dicom, "other file"),
        f"{found.dicomdirs} DICOMDIR",
        plural(found.not_images, "DICOM file") + " without an image",
        f"{len(found.unreadable)} unreadable",
    ]
    left = ", ".join(text for text in others if not text.startswith("0 ")) or "nothing else"
    archives = (
        f"; {plural(found.archives, 'archive')} among them: unpack first" if found.archives else ""
    )
    if not found.headers:
        raise UserError(f"--in holds no DICOM image; found {left}{archives}")
    patients = len({one.first.patient for one in series})
    console.print(
        f"{plural(len(found.headers), 'image')} in {len(series)} series of "
        f"{plural(patients, 'patient')}; left out: {left}{archives}",
        markup=False,
    )
    doubtful = _patients_of_several_persons(series)
    if doubtful:
        console.print(
            f"{plural(doubtful, 'patient id')} with several birth dates or sexes: one id may stand "
            "for several persons, whose scans then count as one patient's",
            style="yellow",
            markup=False,
        )


def _patients_of_several_persons(series: Sequence[Series]) -> int:
    """Patients whose images name two birth dates, or two sexes."""
    facts: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for one in series:
        births, sexes = facts[one.first.patient]
        births.add(one.first.birth)
        sexes.add(one.first.sex)
    return sum(len(births - {""}) > 1 or len(sexes - {""}) > 1 for births, sexes in facts.values())


def show_series(rows: Sequence[Row], found: dict[str, Series], console: Console) -> None:
    """Series that are used one by one, the others by their reason.

    Args:
        found: the series whose description and folder are shown; empty to show none.
    """
    if any(row.used for row in rows):
        console.print(_used_table(rows, found))
    if any(not row.used for row in rows):
        console.print(_left_out_table(rows, found))


def tell_result(rows: Sequence[Row], unlabelled: Sequence[str], out: Path, console: Console) -> int:
    """Say what came of it; returns the exit status."""
    used = [row for row in rows if row.used]
    failed = [row for row in used if not is_converted(out, row)]
    patients = {row.patient_id for row in rows}
    without = sorted(patients - {row.patient_id for row in used if is_converted(out, row)})
    for row in failed[:MOST_LINES]:
        why = row.result or "its images are not under --in"
        console.print(
            f"left out {row.subject_id} series {row.number}: {why}", style="yellow", markup=False
        )
    if len(failed) > MOST_LINES:
        console.print(
            f"… and {len(failed) - MOST_LINES} more, all in {out / 'series.csv'}", markup=False
        )
    if without:
        console.print(
            f"patients without any scan to use: {listed(without)}", style="yellow", markup=False
        )
    console.print(f"{len(used) - len(failed)} of {len(used)} series converted", markup=False)
    console.print(f"table: {out / 'cohort.csv'}", markup=False)
    if unlabelled:
        console.print(
            f"{plural(len(unlabelled), 'row')} without a label: fill in its column `label`",
            markup=False,
        )
    console.print(
        f"next: python launch/new.py {quote(str(out / 'cohort.csv'))} --label label",
        markup=False,
    )
    return 1 if failed or without else 0


def _used_table(rows: Sequence[Row], found: Mapping[str, Series]) -> Table:
    """One row a used series; of many, the first."""
    used = [row for row in rows if row.used]
    title = f"{len(used)} series to use" + (
        f", the first {MOST_ROWS}; all in series.csv" if len(used) > MOST_ROWS else ""
    )
    table = Table(title=title, title_justify="left")
    columns = ("subject", "no.", "contrast", "because", "voxels", "mm", "scanner")
    _add_columns(table, (*columns, *(("description and folder",) if found else ())))
    for row in used[:MOST_ROWS]:
        cells = [row.subject_id, row.number, row.contrast, row.reason, row.dims]
        cells += [row.spacing_mm, row.source]
        table.add_row(*map(escape, cells), *_own_words(row, found))
    return table


def _left_out_table(rows: Sequence[Row], found: Mapping[str, Series]) -> Table:
    """Reasons and how many series each leaves out; each series where its words are shown."""
    left = [row for row in rows if not row.used]
    table = Table(title=f"{len(left)} series left out; each in series.csv", title_justify="left")
    if found:
        _add_columns(table, ("subject", "no.", "reason", "description and folder"))
        for row in left:
            table.add_row(row.subject_id, row.number, escape(row.reason), *_own_words(row, found))
        return table
    _add_columns(table, ("series", "reason"))
    reasons = Counter(row.reason.partition(";")[0] for row in left)
    for reason, count in reasons.most_common(MOST_ROWS):
        table.add_row(str(count), escape(reason))
    return table


def _add_columns(table: Table, names: Sequence[str]) -> None:
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name == "subject")


def _own_words(row: Row, found: Mapping[str, Series]) -> list[str]:
    if not found:
        return []
    if row.series not in found:
        return [""]
    first = found[row.series].first
    text = f"{first.description} ({first.path.parent})"
    # Names of files may be in any encoding.
    return [escape(text.encode("utf-8", "replace").decode())]
