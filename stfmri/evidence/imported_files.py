"""Read the CSV files that another tool's predictions and cohort are in, a row at a time."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stfmri.study.errors import UserError
from stfmri.study.files import open_text
from stfmri.study.predictions import FILE_NAME, PROBABILITY_PREFIX, SUM_TOLERANCE

FOLD_DIGITS = 4


@dataclass(frozen=True)
class Row:
    """One prediction as a file has it."""

    file: Path
    number: int
    variant: str
    fold: int
    columns: Mapping[str, str]
    probabilities: Mapping[str, float]

    @property
    def subject_id(self) -> str:
        """The test scan."""
        return self.columns["subject_id"]


def read_rows(file: Path, variant: str = "") -> list[Row]:
    """The rows of one file; `variant` is whose they are where no column says."""
    header, lines = _csv(file, ("subject_id",))
    named = [column for column in header if column.startswith(PROBABILITY_PREFIX)]
    if len(named) < 2:
        raise UserError(
            f"expected a column {PROBABILITY_PREFIX}<class> for each of two or more classes in "
            f"{file}, found {', '.join(header)}"
        )
    if not lines:
        raise UserError(f"expected a row for each test scan in {file}, found none")
    return [
        Row(
            file,
            number,
            columns.get("variant") or variant or _variant_of(file),
            _whole(columns.get("fold") or "0", file, number),
            columns,
            _probabilities(columns, named, file, number),
        )
        for number, columns in enumerate(lines, start=2)
    ]


def _variant_of(file: Path) -> str:
    """`<variant>` of `<variant>/fold<k>/predictions.csv`, else the file's name."""
    folder = file.absolute().parent
    if file.name == FILE_NAME and folder.name.startswith("fold") and folder.parent.name:
        return folder.parent.name
    return file.stem


def _csv(file: Path, required: Iterable[str]) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a CSV file."""
    try:
        with open_text(file, "utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            header = [name or "" for name in reader.fieldnames or ()]
            rows = list(reader)
    except FileNotFoundError as error:
        raise UserError(f"expected a CSV file at {file}, found none") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"expected a CSV table in UTF-8 in {file}, found {error}") from error
    if lacking := [name for name in required if name not in header]:
        raise UserError(
            f"expected a column {', '.join(lacking)} in {file}, found {', '.join(header)}"
        )
    if doubled := sorted({name for name in header if name and header.count(name) > 1}):
        raise UserError(f"expected each column once in {file}, found {', '.join(doubled)} twice")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise UserError(f"expected {len(header)} fields in row {number} of {file}")
        if not row["subject_id"].strip():
            raise UserError(f"expected a subject_id in row {number} of {file}, found none")
    return header, rows


def _probabilities(
    columns: Mapping[str, str], named: Sequence[str], file: Path, number: int
) -> dict[str, float]:
    try:
        found = {name.removeprefix(PROBABILITY_PREFIX): float(columns[name]) for name in named}
    except ValueError as error:
        raise UserError(f"expected probabilities in row {number} of {file}: {error}") from error
    if not all(0 <= value <= 1 for value in found.values()) or (
        abs(math.fsum(found.values()) - 1) > SUM_TOLERANCE
    ):
        raise UserError(
            f"expected probabilities from 0 to 1 that sum to 1 in row {number} of {file}, found "
            f"{', '.join(f'{value:g}' for value in found.values())}"
        )
    return found


def _whole(text: str, file: Path, number: int) -> int:
    if not text.strip().isdecimal() or len(text.strip()) > FOLD_DIGITS:
        raise UserError(
            f"expected a fold number from 0 to {10**FOLD_DIGITS - 1} in row {number} of {file}, "
            f"found {text!r}"
        )
    return int(text)


def read_cohort_columns(file: Path) -> dict[str, dict[str, str]]:
    """The columns of every subject of a cohort table."""
    _, rows = _csv(file, ("subject_id",))
    listed: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["subject_id"] in listed:
            raise UserError(f"{file} lists the subject {row['subject_id']} twice")
        listed[row["subject_id"]] = row
    return listed
