"""The classes that are wanted, and labels from a table where the folders do not give them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from preprocessing.cohorts.checks import one_line
from preprocessing.cohorts.layout import Key
from preprocessing.cohorts.scan import Scan, path_columns
from preprocessing.cohorts.sheet import Row, Sheet, read_sheet
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.files import absolute
from stfmri.study.shards import INDEX_COLUMNS

TABLE = Key("table", "FILE", "the table of labels: subject_id (or its first column), data.label")
# As tables write a value that nobody knows; n/a is that of BIDS.
UNKNOWN = ("", "n/a", "na", "nan")


def with_table(scans: list[Scan], data: DataConfig) -> list[Scan]:
    """The scans with what `data.table` says of them, as they are where none is given."""
    if not data.table:
        return scans
    return joined(scans, read_sheet(absolute(data.table), "data.table"), data)


def joined(scans: list[Scan], sheet: Sheet, data: DataConfig) -> list[Scan]:
    """Give each scan its row of `sheet`.

    The key is the column `subject_id`, else the first one; it holds the subject or, for all scans
    of one person, the patient. The class is the column `data.label`; `patient_id`, and
    `source` or else `site`, count where the table has them. A row without a scan is passed over.

    Raises:
        UserError: where a column is missing, a key occurs twice, or no scan has a row.
    """
    sheet.require([data.label], "data.label names the column of the class")
    named = [name for name in sheet.header if name]
    key = "subject_id" if "subject_id" in named else named[0]
    rows = _by_key(sheet, key)
    found = [rows.get(scan.subject_id) or rows.get(scan.patient_id) for scan in scans]
    if scans and not any(found):
        raise UserError(
            f"{sheet.path}: its column {key} must hold the subjects, such as "
            f"{scans[0].subject_id}; it names none of the {len(scans)} found, but "
            f"{next(iter(rows), 'nobody')}"
        )
    return [
        _labelled(scan, row, sheet.path, data.label) for scan, row in zip(scans, found, strict=True)
    ]


def wanted_classes(data: DataConfig, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The classes of a layout that the configuration asks for, all of them by default.

    With a table of labels, which may have classes of its own, every scan is wanted.

    Raises:
        ConfigError: where the layout has no such class.
    """
    if data.table:
        return known
    unknown = [name for name in data.classes if name not in known]
    if unknown:
        raise ConfigError(
            f"data.classes: {', '.join(unknown)} unknown; {what} holds {', '.join(known)}"
        )
    return data.classes or known


def is_unknown(text: str) -> bool:
    """Whether a cell says that nobody knows its value."""
    return text.lower() in UNKNOWN


def _labelled(scan: Scan, row: Row | None, table: Path, label: str) -> Scan:
    if row is None:
        return replace(scan, label="", fault=scan.fault or f"not listed in {table.name}")
    name = "" if is_unknown(row.cells[label]) else row.cells[label]
    fault = scan.fault or ("" if name else f"{table.name} gives no {label}")
    columns = {
        column: one_line(text) for column, text in row.cells.items() if column not in INDEX_COLUMNS
    }
    return replace(
        scan,
        label=name,
        patient_id=_first_known(row, "patient_id") or scan.patient_id,
        source=_first_known(row, "source", "site") or scan.source,
        columns=columns | path_columns(scan.paths),
        fault=fault,
    )


def _first_known(row: Row, *columns: str) -> str:
    cells = (row.cells.get(column, "") for column in columns)
    return next((cell for cell in cells if not is_unknown(cell)), "")


def _by_key(sheet: Sheet, key: str) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for row in sheet.rows:
        name = row.cells[key]
        if not name:
            raise UserError(f"{row.where}: the field {key} is empty")
        if name in rows:
            raise UserError(
                f"{row.where}: {name} is in {rows[name].where} already; a subject has one row"
            )
        rows[name] = row
    return rows
