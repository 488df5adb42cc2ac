"""The column of the class: found in the table, refused where it holds none, or made of numbers."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from preprocessing.cohorts.columns import MOST_GROUPS, in_order
from preprocessing.cohorts.labels import is_unknown
from preprocessing.cohorts.sheet import Sheet
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.files import write_atomic
from stfmri.study.shards import INDEX_COLUMNS
from stfmri.study.table_columns import number_of
from stfmri.study.words import did_you_mean, listed

MOST_CLASSES = 20
LEAST_FOR_THREE = 60  # values, from which on three classes are proposed instead of two


def require_class_column(sheet: Sheet, label: str, *, asked: bool) -> None:
    """Refuse a table without the column.

    Args:
        asked: whether the user named it; else it is the usual one.

    Raises:
        ConfigError: naming the columns that may be meant.
    """
    if label in sheet.header and label not in INDEX_COLUMNS:
        return
    able = {
        name: values
        for name in dict.fromkeys(sheet.header)
        if name not in ("", *INDEX_COLUMNS)
        and 1 < len(values := _values(sheet, name)) <= MOST_GROUPS
        # A value for each subject is a name, not a class.
        and len(values) < values.total()
    }
    columns = "; ".join(f"{name} ({_counts(values)})" for name, values in able.items())
    hint = f"columns of few values: {columns}" if able else f"columns: {listed(sheet.header, 12)}"
    if not asked:
        raise ConfigError(f"say which column of {sheet.path} is the class, --label NAME; {hint}")
    if label in INDEX_COLUMNS:
        raise ConfigError(
            f"--label {label}: a column of that name cannot be the class, since the index of the "
            f"volumes has one; copy it in {sheet.path} to a column of another name ({hint})"
        )
    meant = did_you_mean(label, sheet.header)
    raise ConfigError(f"--label: {sheet.path} has no column {label}{meant} ({hint})")


def refuse_too_many(sheet: Sheet, label: str, command: str) -> None:
    """Refuse a column that holds numbers or names instead of classes.

    Args:
        command: as typed, for the proposal.

    Raises:
        UserError: for numbers, with a way to cut them into classes.
    """
    values = _values(sheet, label)
    numbers = [number_of(text) for text in values.elements()]
    are_numbers = not any(map(math.isnan, numbers))
    if len(values) <= (MOST_GROUPS if are_numbers else MOST_CLASSES):
        return
    found = f"{sheet.path}: column {label} holds {len(values)} different"
    if not are_numbers:
        raise UserError(
            f"{found} values, such as {listed(list(values), 3)}: too many for classes; merge them "
            "in the table, or choose another column with --label"
        )
    edges = proposed_edges(numbers)
    sizes = Counter(class_of(number, edges) for number in numbers)
    names = ", ".join(f"{name} ({sizes[name]})" for name in class_names(edges))
    cut = " ".join(f"{edge:g}" for edge in edges)
    raise UserError(
        f"{found} numbers ({min(numbers):g} to {max(numbers):g}), which are no classes; cut them, "
        f"as in: {command} --cut {cut} → {names}"
    )


def proposed_edges(numbers: Sequence[float]) -> list[float]:
    """Where to cut numbers into two or three classes of about one size, at round figures."""
    classes = 3 if len(numbers) >= LEAST_FOR_THREE else 2
    exact = np.quantile(numbers, np.arange(1, classes) / classes).tolist()
    rounded = sorted({float(f"{edge:.2g}") for edge in exact})
    inside = all(min(numbers) < edge <= max(numbers) for edge in rounded)
    return rounded if inside and len(rounded) == len(exact) else sorted(set(exact))


def class_names(edges: Sequence[float]) -> list[str]:
    """The classes that `edges` cut numbers into, from the lowest."""
    first, *others = [f"{edge:g}" for edge in edges]
    between = [f"{low}_to_{high}" for low, high in zip([first, *others], others, strict=False)]
    return [f"below_{first}", *between, f"from_{[first, *others][-1]}"]


def class_of(number: float, edges: Sequence[float]) -> str:
    """The class of a number; an edge belongs to the upper class."""
    return class_names(edges)[int(np.searchsorted(edges, number, side="right"))]


def cut(sheet: Sheet, label: str, edges: Sequence[float]) -> tuple[Path, str, list[str]]:
    """Write a copy of the table beside it, with a column of classes cut from numbers.

    A subject whose number is not known is left out of the copy.

    Returns:
        The copy, the name of its new column, and the classes in order.

    Raises:
        UserError: where the column holds no numbers, or the edges do not rise.
    """
    if list(edges) != sorted(set(edges)):
        raise ConfigError(f"--cut takes rising numbers, found {' '.join(f'{e:g}' for e in edges)}")
    rows = [row for row in sheet.rows if not is_unknown(row.cells[label])]
    for row in rows:
        if math.isnan(number_of(row.cells[label])):
            raise UserError(f"{row.where}: {label} must be a number, found {row.cells[label]!r}")
    free = [name for name in (f"{label}_group", f"{label}_cut") if name not in sheet.header]
    if not free:
        raise UserError(
            f"{sheet.path} has columns {label}_group and {label}_cut already; rename one, or use "
            "one with --label"
        )
    column = free[0]
    text = io.StringIO()
    named = [name for name in sheet.header if name]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*named, column])
    for row in rows:
        group = class_of(number_of(row.cells[label]), edges)
        writer.writerow([*(row.cells[name] for name in named), group])
    target = sheet.path.with_name(f"{sheet.path.stem}_{column}.csv")
    if target.exists() and target.read_text(encoding="utf-8") != text.getvalue():
        raise UserError(f"{target} is there already and differs; remove it, or rename it")
    write_atomic(target, text.getvalue())
    return target, column, class_names(edges)


def _values(sheet: Sheet, name: str) -> Counter[str]:
    cells = (row.cells[name] for row in sheet.rows)
    return Counter(cell for cell in cells if not is_unknown(cell))


def _counts(values: Counter[str]) -> str:
    return ", ".join(f"{value} {values[value]}" for value in sorted(values, key=in_order))
