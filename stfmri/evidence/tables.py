"""A table, and how it is written as CSV, Markdown, LaTeX and for the report's HTML."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import rich.table
from rich.markup import escape
from rich.text import Text

UNDEFINED = "–"


@dataclass(frozen=True)
class Score:
    """A metric: a value, its standard deviation where there is one, or its interval."""

    value: float
    sd: float | None = None
    digits: int = 3

    def text(self) -> str:
        """As printed: `0.912 ± 0.034`, or a dash where undefined."""
        if math.isnan(self.value):
            return UNDEFINED
        printed = _minus(f"{self.value:.{self.digits}f}")
        if self.sd is None or math.isnan(self.sd):
            return printed
        # As in the paper: three digits, one more for what would round to zero.
        digits = 4 if 0.00005 <= self.sd < 0.0005 else 3
        return f"{printed} ± {self.sd:.{digits}f}"


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float
    digits: int = 3

    def text(self) -> str:
        """As printed: `0.88 to 0.94`; `to` rather than a dash, since ends can be negative."""
        if math.isnan(self.low) or math.isnan(self.high):
            return UNDEFINED
        return _minus(f"{self.low:.{self.digits}f} to {self.high:.{self.digits}f}")


@dataclass(frozen=True)
class PValue:
    """A p-value."""

    value: float

    def text(self) -> str:
        """As printed: three digits, `< 0.001` for what would print as zero."""
        if math.isnan(self.value):
            return UNDEFINED
        return "< 0.001" if self.value < 0.0005 else f"{self.value:.3f}"


Cell = str | int | Score | Interval | PValue | None


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        best: mark the best score of the networks in bold.
        lower_is_better: which one that is.
        spread: give the CSV a second column with the standard deviation.
        interval: two columns in the CSV, the ends.
    """

    name: str
    best: bool = False
    lower_is_better: bool = False
    spread: bool = False
    interval: bool = False


@dataclass(frozen=True)
class Row:
    """One row; `kind` is `network` or `baseline` (set apart, never marked as best)."""

    cells: Sequence[Cell]
    kind: str = "network"


@dataclass(frozen=True)
class Table:
    """What a paper prints as a table.

    Attributes:
        name: file name without its ending.
        title: one line.
        caption: what the numbers are; may be empty.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    caption: str = ""

    @cached_property
    def best(self) -> frozenset[tuple[int, int]]:
        """The (row, column) of each cell in bold: the best printed score of each `best` column.

        Ties share it; with a single network, or none above zero, there is nothing to be best of.
        """
        cells: list[tuple[int, int]] = []
        for number, column in enumerate(self.columns):
            if column.best:
                cells += [(position, number) for position in _best(self.rows, number, column)]
        return frozenset(cells)

    @cached_property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold no text, and are aligned to the right."""
        return tuple(
            all(not isinstance(row.cells[number], str) for row in self.rows)
            for number in range(len(self.columns))
        )


def _minus(text: str) -> str:
    """Numbers with a minus sign as wide as a plus."""
    return text.replace("-", "−")


def cell_text(cell: Cell) -> str:
    """A cell as people read it."""
    match cell:
        case None:
            return UNDEFINED
        case int():
            return f"{cell:,}"
        case str():
            return cell
        case _:
            return cell.text()


def to_terminal(table: Table, caution: str = "") -> rich.table.Table:
    """As a terminal shows it, baselines dim, the best in bold, with `caution` below."""
    shown = rich.table.Table(
        title=escape(table.title),
        title_justify="left",
        title_style="bold",
        box=None,
        caption=escape(caution) or None,
        caption_justify="left",
    )
    for column, numeric in zip(table.columns, table.numeric, strict=True):
        shown.add_column(escape(column.name), justify="right" if numeric else "left")
    for place, row in enumerate(table.rows):
        cells = (
            Text(cell_text(cell), style="bold" if (place, number) in table.best else "")
            for number, cell in enumerate(row.cells)
        )
        shown.add_row(*cells, style="dim" if row.kind == "baseline" else "")
    return shown


def to_csv(table: Table) -> str:
    """Full precision, one value a field; undefined is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header: list[str] = []
    for column in table.columns:
        if column.interval:
            header += [f"{column.name} low", f"{column.name} high"]
        else:
            header += [column.name, f"{column.name} sd"] if column.spread else [column.name]
    writer.writerow(header)
    for row in table.rows:
        fields: list[str] = []
        for column, cell in zip(table.columns, row.cells, strict=True):
            fields += _csv_fields(column, cell)
        writer.writerow(fields)
    return text.getvalue()


def to_markdown(table: Table) -> str:
    """A pipe table under its title, the best in bold."""
    lines = [f"**{_markdown(table.title)}**", ""]
    lines.append("| " + " | ".join(_markdown(column.name) for column in table.columns) + " |")
    rules = ["---:" if number else "---" for number in table.numeric]
    lines.append("| " + " | ".join(rules) + " |")
    for number, row in enumerate(table.rows):
        cells = []
        for column, cell in enumerate(row.cells):
            text = _markdown(cell_text(cell))
            cells.append(f"**{text}**" if (number, column) in table.best else text)
        lines.append("| " + " | ".join(cells) + " |")
    if table.caption:
        lines += ["", _markdown(table.caption)]
    return "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    """A `table` environment; needs the packages booktabs and amsmath (for `\\pm` in text)."""
    alignment = "".join("r" if number else "l" for number in table.numeric)
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{_latex(' '.join([table.title + '.', table.caption]).strip())}}}",
        f"  \\label{{tab:{table.name}}}",
        f"  \\begin{{tabular}}{{{alignment}}}",
        "    \\toprule",
        "    " + " & ".join(_latex(column.name) for column in table.columns) + " \\\\",
        "    \\midrule",
    ]
    previous = table.rows[0].kind if table.rows else ""
    for number, row in enumerate(table.rows):
        if row.kind != previous:
            lines.append("    \\midrule")
            previous = row.kind
        cells = []
        for column, cell in enumerate(row.cells):
            text = _latex(cell_text(cell))
            cells.append(f"\\textbf{{{text}}}" if (number, column) in table.best else text)
        lines.append("    " + " & ".join(cells) + " \\\\")
    lines += ["    \\bottomrule", "  \\end{tabular}", "\\end{table}"]
    return "\n".join(lines) + "\n"


def _best(rows: Sequence[Row], number: int, column: Column) -> list[int]:
    """Positions of the networks whose score prints best in that column; none of a single one."""
    printed: dict[int, float] = {}
    for position, row in enumerate(rows):
        cell = row.cells[number]
        if row.kind == "network" and isinstance(cell, Score) and not math.isnan(cell.value):
            printed[position] = round(cell.value, cell.digits)
    if len(printed) < 2:
        return []
    best = min(printed.values()) if column.lower_is_better else max(printed.values())
    if best <= 0 and not column.lower_is_better:
        return []
    return [position for position, value in printed.items() if value == best]


def _csv_fields(column: Column, cell: Cell) -> list[str]:
    """The fields of one cell: one, or two where the column has a spread or an interval."""
    if column.interval:
        ends = (cell.low, cell.high) if isinstance(cell, Interval) else (math.nan, math.nan)
        return [_number(value) for value in ends]
    if isinstance(cell, Score):
        fields = [_number(cell.value)]
        if column.spread:
            fields.append(_number(math.nan if cell.sd is None else cell.sd))
        return fields
    if isinstance(cell, PValue):
        return [_number(cell.value)]
    fields = ["" if cell is None else str(cell)]
    return [*fields, ""] if column.spread else fields


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def _markdown(text: str) -> str:
    """Escape what Markdown or the HTML in it would read as markup."""
    escaped = text.replace("\\", "\\\\")
    for character in "|*_`<[":
        escaped = escaped.replace(character, f"\\{character}")
    return " ".join(escaped.split())


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "×": r"$\times$",
    "\u00a0": "~",
}


def _latex(text: str) -> str:
    """Escape what LaTeX would read as a command."""
    return "".join(_LATEX.get(character, character) for character in text)
