"""Tables as people have them: CSV and TSV with any separator, and Excel's XLSX."""

from __future__ import annotations

import csv
import datetime
import io
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocessing.cohorts.checks import one_line, refuse_control_characters
from stfmri.study.errors import UserError
from stfmri.study.files import NotRegularFileError, open_regular, open_text
from stfmri.study.shards import INDEX_COLUMNS

SEPARATORS = (",", "\t", ";", "|")
OTHER_SHEETS = (".xls", ".xlsb", ".ods")  # spreadsheets that are not read
# Columns that the cache's index has of its own, beyond those that a table may give.
RESERVED = INDEX_COLUMNS[3:]


@dataclass(frozen=True)
class Row:
    """One row by its column names; `where` is its place, such as `line 3 of cohort.csv`."""

    where: str
    cells: dict[str, str]


@dataclass(frozen=True)
class Sheet:
    """A table as text, without blanks around cells and without empty rows."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[Row, ...]

    def require(self, columns: Sequence[str], hint: str) -> None:
        """Refuse a table that lacks a column, has one twice, or uses a name of the index.

        Raises:
            UserError: naming the columns; `hint` says what to do about a missing one.
        """
        refuse_control_characters(f"the header of {self.path}", self.header)
        missing = [name for name in columns if name not in self.header]
        if missing:
            plural = "s" if len(missing) > 1 else ""
            raise UserError(
                f"{self.path} lacks the column{plural} {', '.join(missing)} (found: "
                f"{', '.join(self.header) or 'nothing'}); {hint}"
            )
        # Nameless columns are what spreadsheets leave at the end, or a row's number; none is read.
        doubled = sorted({name for name in self.header if name and self.header.count(name) > 1})
        reserved = [name for name in self.header if name in RESERVED]
        if doubled or reserved:
            raise UserError(
                f"{self.path} must have each column once and none named {', '.join(RESERVED)}; "
                f"rename {', '.join(doubled + reserved)}"
            )


def read_sheet(path: Path, key: str) -> Sheet:
    """Read a table; the header shows its separator.

    Args:
        key: what names the file, for messages: `data.table`.

    Raises:
        UserError: where there is no such file, it cannot be read, or a row does not fit the header.
    """
    if not path.exists():
        raise UserError(f"{key}: there is no file {path}")
    try:
        open_regular(path).close()
    except NotRegularFileError as error:
        raise UserError(f"{key}: {error}") from error
    except OSError as error:
        raise UserError(f"{key}: cannot read {path}: {error.strerror}") from error
    if path.suffix.lower() in OTHER_SHEETS:
        raise UserError(f"{key}: {path} must be CSV, TSV or XLSX; save it as one of these")
    file = EXCEL if path.suffix.lower() in EXCEL.suffixes else TEXT
    try:
        records = list(file.records(path))
    except file.errors as error:
        reason = one_line(str(error))
        raise UserError(
            f"{key}: cannot read {path} as a table ({reason}); {file.advice}"
        ) from error
    if not records:
        return Sheet(path, (), ())
    (_, header), *rest = records
    rows = []
    for number, cells in rest:
        where = f"{file.unit} {number} of {path}"
        if any(cells):
            rows.append(Row(where, _by_name(header, cells, where)))
    return Sheet(path, tuple(header), tuple(rows))


def _by_name(header: Sequence[str], cells: Sequence[str], place: str) -> dict[str, str]:
    if len(cells) != len(header):
        raise UserError(
            f"{place} has more or fewer fields than the header: {len(cells)}, not {len(header)}"
        )
    return {name: cell for name, cell in zip(header, cells, strict=True) if name}


def _text_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records of a text file with the lines where they end."""
    # utf-8-sig: spreadsheets put a byte-order mark before the first column's name.
    with open_text(path, "utf-8-sig", newline="") as file:
        text = file.read()
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator(text), strict=True)
    for cells in reader:
        if cells:
            yield reader.line_num, [cell.strip() for cell in cells]


def separator(text: str) -> str:
    """The separator that divides the header into most names.

    Only the header is looked at: cells hold decimal commas, lists and times.
    """

    def names(mark: str) -> int:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
        return len(next(lines, ()))

    return max(SEPARATORS, key=names)


def _excel_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a workbook's first sheet, each as long as the header."""
    import openpyxl  # only here: most cohorts need it not

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles and validations, which no cell depends on
        workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            width = 0
            rows = workbook.worksheets[0].iter_rows(values_only=True)
            for number, values in enumerate(rows, start=1):
                cells = _without_empty_end(_as_text(value) for value in values)
                width = width or len(cells)
                if cells:
                    yield number, cells + [""] * (width - len(cells))
        finally:
            workbook.close()


def _without_empty_end(cells: Iterable[str]) -> list[str]:
    found = list(cells)
    while found and not found[-1]:
        found.pop()
    return found


def _as_text(value: object) -> str:
    """A cell as the same table has it in CSV."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return str(value).strip()


@dataclass(frozen=True)
class Format:
    """How one kind of file is read.

    Attributes:
        records: the cells of each record with its number; the first one is the header.
        errors: what a file that cannot be read raises.
        advice: what to do about it.
        unit: what a record's number counts.
    """

    suffixes: tuple[str, ...]
    records: Callable[[Path], Iterator[tuple[int, list[str]]]]
    errors: tuple[type[Exception], ...]
    advice: str
    unit: str


TEXT = Format(
    suffixes=(),  # any other
    records=_text_records,
    errors=(OSError, UnicodeDecodeError, csv.Error),
    advice="save it as UTF-8",
    unit="line",
)
EXCEL = Format(
    suffixes=(".xlsx", ".xlsm"),
    records=_excel_records,
    # openpyxl lets through what zip, zlib and XML make of a damaged file, and stumbles over the
    # rest.
    errors=(
        OSError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        SyntaxError,  # of XML
        ArithmeticError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ),
    advice="save it again as XLSX, or as CSV",
    unit="row",
)
