"""`series.csv`: every series found, what it seems to be, and whether it is used.

The user may edit the columns `use` and `contrast`; the rest is written anew at every call. It holds
no text of the headers but the scanner's model.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from preprocessing.dicom.contrast import guess
from preprocessing.dicom.pseudonyms import Pseudonyms
from preprocessing.dicom.series import Series, age, sex, source
from stfmri.study.errors import UserError
from stfmri.study.files import SAFE_NAME, read_text, write_atomic

FILE_NAME = "series.csv"
YES, NO = "yes", "no"


@dataclass(frozen=True)
class Row:
    """One series; every field a column.

    Attributes:
        series: its pseudonym.
        subject_id: patient and day; `patient_id` joins a patient's days.
        visit: 1, 2, … in the order of a patient's dates; '' where not all of them are at hand.
        number: SeriesNumber, to find it again in a viewer.
        use: yes or no.
        contrast: t1, t1ce, t2, flair, pd or the user's own word; '' for unknown.
        reason: of the guess, or of leaving it out.
        images: slices found.
        dims, spacing_mm: columns, rows, slices; mm. In plain letters, as spreadsheets like it.
        tr_ms, te_ms, ti_ms: repetition, echo, inversion time.
        result: '' before the conversion, `converted`, or why it failed.
    """

    series: str
    subject_id: str
    patient_id: str
    visit: str
    number: str
    use: str
    contrast: str
    reason: str
    images: str
    dims: str
    spacing_mm: str
    tr_ms: str
    te_ms: str
    ti_ms: str
    source: str
    age: str
    sex: str
    result: str = ""

    @property
    def used(self) -> bool:
        """Whether it is to be converted."""
        return self.use == YES


COLUMNS = tuple(column.name for column in fields(Row))


def propose(found: Sequence[Series], names: Pseudonyms, known: dict[str, Row]) -> list[Row]:
    """One row for each series, found now or known before, by patient, visit and number.

    A known series keeps the user's `use` and `contrast`, and its result while its images are the
    same. Of several new series with one contrast in a visit the finest is used.
    """
    rows = dict(known)
    finest = {}
    for series in found:
        row = _row(series, names)
        rows[row.series] = _as_known(row, known[row.series]) if row.series in known else row
        finest[row.series] = _fineness(series)
    visits = _visits(found, names, known)
    numbered = [replace(row, visit=visits[row.subject_id]) for row in rows.values()]
    # Not in the order of the patients' own ids, which would say something about them.
    numbered.sort(key=lambda row: (row.patient_id, row.visit, row.subject_id, int(row.number)))
    return _one_of_each_contrast(numbered, finest, known)


def read_plan(out: Path) -> dict[str, Row]:
    """The rows of `series.csv` by series; none where there is no such file.

    Raises:
        UserError: naming the line and what it should hold.
    """
    path = out / FILE_NAME
    if not path.exists():
        return {}
    lines = read_rows(path)
    missing = [name for name in COLUMNS if lines and name not in lines[0][1]]
    if missing:
        raise UserError(f"{path} lacks the columns {', '.join(missing)}; delete it to start afresh")
    rows: dict[str, Row] = {}
    for number, line in lines:
        cells = {name: line[name] for name in COLUMNS}
        lower = {name: cells[name].lower() for name in ("use", "contrast")}
        row = Row(**cells | lower)
        _check(f"line {number} of {path}", row)
        rows[row.series] = row
    _refuse_two_of_a_contrast(path, rows.values())
    return rows


def write_plan(out: Path, rows: Iterable[Row]) -> None:
    """Write `series.csv`."""
    write_rows(out / FILE_NAME, COLUMNS, ([getattr(row, name) for name in COLUMNS] for row in rows))


def read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and cells by column, of a CSV that a spreadsheet may have written again.

    Raises:
        UserError: where it is no such table.
    """
    try:
        text = read_text(path, "utf-8-sig")
        header = text.partition("\n")[0]
        separator = max(",;\t", key=header.count)
        table = csv.DictReader(io.StringIO(text), delimiter=separator, strict=True)
        lines = [(table.line_num, line) for line in table if any(line.values())]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} as CSV ({error}); save it as CSV in UTF-8") from error
    for number, line in lines:
        if None in line or None in line.values():
            raise UserError(f"line {number} of {path} has more or fewer fields than the header")
    return [(number, {name: cell.strip() for name, cell in line.items()}) for number, line in lines]


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV, readable by its owner alone."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomic(path, text.getvalue())


def _row(series: Series, names: Pseudonyms) -> Row:
    first, volume = series.first, series.geometry
    guessed = guess(first)
    use = bool(guessed.contrast) and not series.obstacle
    echo = first.frames[0].echo_ms if first.frames else None
    return Row(
        series=names.series(first),
        subject_id=names.subject(first),
        patient_id=names.patient(first),
        visit="",
        number=str(first.number),
        use=YES if use else NO,
        contrast="" if series.obstacle else guessed.contrast,
        reason=series.obstacle or guessed.reason,
        images=str(sum(len(header.frames) for header in series.headers)),
        dims="x".join(map(str, volume.dims)),
        spacing_mm="x".join(f"{size:.3g}" for size in volume.spacing_mm),
        tr_ms=_short(first.tr_ms),
        te_ms=_short(echo),
        ti_ms=_short(first.ti_ms),
        source=source(first),
        age=age(first),
        sex=sex(first),
    )


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.5g}"


def _as_known(row: Row, before: Row) -> Row:
    """`row` with what the user decided and what was done before."""
    now, then = int(row.images), int(before.images)
    if now < then:
        return before  # part of the export is elsewhere: what was made of the whole stays
    if now == then:
        return replace(row, use=before.use, contrast=before.contrast, result=before.result)
    # A series that was left out for its missing images may be whole now.
    decided = before.used or before.contrast
    return replace(row, use=before.use, contrast=before.contrast) if decided else row


def _visits(found: Sequence[Series], names: Pseudonyms, known: dict[str, Row]) -> dict[str, str]:
    """The place of each subject among its patient's days.

    Dates are not kept: where a new day comes and an earlier one is not at hand, the order of that
    patient's days is unknown.
    """
    visits = {row.subject_id: row.visit for row in known.values()}
    dates: dict[str, dict[str, str]] = defaultdict(dict)
    for series in found:
        dates[names.patient(series.first)][names.subject(series.first)] = series.first.date
    before: dict[str, set[str]] = defaultdict(set)
    for row in known.values():
        before[row.patient_id].add(row.subject_id)
    for patient, days in dates.items():
        dated = all(days.values()) or len(days) == 1
        if before[patient] <= days.keys() and dated:
            in_order = sorted(days, key=lambda day: days[day])
            visits |= {subject: str(place) for place, subject in enumerate(in_order, 1)}
        elif days.keys() - before[patient]:
            visits |= dict.fromkeys(before[patient] | days.keys(), "")
    return visits


def _fineness(series: Series) -> tuple[float, float, int]:
    """The smaller, the better: largest voxel edge, voxel volume; then the later repeat."""
    edges = series.geometry.spacing_mm
    return round(max(edges), 1), round(edges[0] * edges[1] * edges[2], 2), -series.first.number


def _one_of_each_contrast(
    rows: list[Row], fineness: dict[str, tuple[float, float, int]], known: dict[str, Row]
) -> list[Row]:
    """Leave out what a known series, or a finer one, is used for already."""
    rivals: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.used:
            rivals[row.subject_id, row.contrast].append(row)
    best = {
        key: min(
            same,
            key=lambda row: (row.series not in known, fineness.get(row.series, (0.0, 0.0, 0))),
        )
        for key, same in rivals.items()
    }
    return [_beaten(row, best[row.subject_id, row.contrast]) if row.used else row for row in rows]


def _beaten(row: Row, best: Row) -> Row:
    if row.series == best.series:
        return row
    reason = f"series {best.number} of this visit is used for {row.contrast}; {row.reason}"
    return replace(row, use=NO, reason=reason)


def _check(where: str, row: Row) -> None:
    if not (row.images.isdigit() and row.number.lstrip("-").isdigit()):
        raise UserError(f"{where}: the columns images and number must be left as they were")
    if row.use not in (YES, NO):
        raise UserError(f"{where}: use must be yes or no, found {row.use!r}")
    if row.used and not SAFE_NAME.fullmatch(row.contrast):
        raise UserError(
            f"{where}: a series that is used needs a contrast in letters and digits, such as t1, "
            f"t1ce, t2, flair or pd; found {row.contrast!r}"
        )


def _refuse_two_of_a_contrast(path: Path, rows: Iterable[Row]) -> None:
    counts = Counter((row.subject_id, row.contrast) for row in rows if row.used)
    for (subject, contrast), count in counts.items():
        if count > 1:
            raise UserError(
                f"{path}: {count} series of {subject} are used for {contrast}; set use=no for all "
                "but one of them, or give them contrasts of their own"
            )
