"""Any cohort: a table with a row a scan, as CSV, TSV or XLSX.

`subject_id`, the class, and `path` or, for several contrasts, `path_<contrast>`; optionally
`patient_id`, `source`, `mask` and `stripped`. Every other column is carried along.
"""

from __future__ import annotations

from pathlib import Path

from preprocessing.cohorts.checks import one_line, refuse_control_characters, refuse_duplicates
from preprocessing.cohorts.layout import Key, Layout
from preprocessing.cohorts.scan import SCAN, Scan
from preprocessing.cohorts.sheet import Row, Sheet, read_sheet
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.files import absolute
from stfmri.study.shards import INDEX_COLUMNS

TABLE = Key("table", "FILE", "a table with subject_id, path and a label")
PATH, PREFIX = "path", "path_"
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


def find(data: DataConfig) -> list[Scan]:
    """The scans of the table, in its order.

    Raises:
        UserError: naming the table and the line.
    """
    sheet = read_sheet(TABLE.path(data), "data.table")
    if len(sheet.header) == 1:  # before anything else: no separator was found
        raise UserError(
            f"data.table: {sheet.path} must have a header and columns separated by commas, tabs "
            f"or semicolons; found the header {sheet.header[0]!r}"
        )
    hint = "data.label names the column of the class"
    held = _contrast_columns(sheet)
    paths = () if held else (PATH,)
    sheet.require(["subject_id", *paths, data.label], hint)
    columns = _path_columns(sheet, held, data)
    if not sheet.rows:
        raise UserError(f"data.table: {sheet.path} lists no scans")
    scans = [_scan(sheet.path, row, columns, data) for row in sheet.rows]
    refuse_duplicates(scans, [row.where for row in sheet.rows])
    return scans


def _contrast_columns(sheet: Sheet) -> dict[str, str]:
    """Contrast → its column `path_<contrast>`."""
    return {
        name.removeprefix(PREFIX): name
        for name in sheet.header
        if name.startswith(PREFIX) and name != PREFIX
    }


def _path_columns(sheet: Sheet, held: dict[str, str], data: DataConfig) -> dict[str, str]:
    """Which column each channel of a volume takes.

    Raises:
        UserError: where there are several and none was chosen, or a chosen one is missing.
    """
    if not data.contrasts:
        if PATH in sheet.header:
            return {SCAN: PATH}
        if len(held) == 1:
            return {SCAN: next(iter(held.values()))}
        raise UserError(
            f"{sheet.path} holds the contrasts {', '.join(held)}; say which make the volumes, "
            f"such as data.contrasts=[{','.join(held)}]"
        )
    if len(data.contrasts) == 1 and not held:
        return {data.contrasts[0]: PATH}
    unknown = [name for name in data.contrasts if name not in held]
    if unknown:
        raise ConfigError(
            f"data.contrasts: {sheet.path} has no column "
            f"{', '.join(PREFIX + name for name in unknown)}; it holds "
            f"{', '.join(held) or 'one contrast, in the column path'}"
        )
    return {name: held[name] for name in data.contrasts}


def _scan(table: Path, row: Row, columns: dict[str, str], data: DataConfig) -> Scan:
    where, cells = row.where, row.cells
    for name in ("subject_id", data.label):
        if not cells[name]:
            raise UserError(f"{where}: the field {name} is empty")
    used = ("subject_id", "patient_id", "source", "mask", data.label, *columns.values())
    refuse_control_characters(where, [cells.get(name, "") for name in used])
    stripped = cells.get("stripped", "").lower()
    if stripped and stripped not in TRUE + FALSE:
        raise UserError(f"{where}: stripped must be true or false, found {cells['stripped']!r}")
    mask = cells.get("mask", "")
    paths = {
        channel: absolute(cells[name], table.parent)
        for channel, name in columns.items()
        if cells[name]
    }
    return Scan(
        subject_id=cells["subject_id"],
        patient_id=cells.get("patient_id") or cells["subject_id"],
        source=cells.get("source") or table.stem,
        label=cells[data.label],
        paths=paths,
        mask=absolute(mask, table.parent) if mask else None,
        stripped=stripped in TRUE if stripped else data.stripped,
        columns={name: one_line(text) for name, text in cells.items() if name not in INDEX_COLUMNS},
        fault="" if paths else f"{where}: the field {' and '.join(columns.values())} is empty",
    )


LAYOUT = Layout("table", "a CSV, TSV or XLSX table with a row a scan", (TABLE,), find)
