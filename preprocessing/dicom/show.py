"""The series found, as tables for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from preprocessing.dicom.plan import Row
from preprocessing.dicom.series import Series

MOST_ROWS = 40


def used_table(rows: Sequence[Row], found: Mapping[str, Series]) -> Table:
    """One row a used series; of many, the first.

    Args:
        found: the series whose description and folder are shown; empty to show none.
    """
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


def left_out_table(rows: Sequence[Row], found: Mapping[str, Series]) -> Table:
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
