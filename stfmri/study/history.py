"""How a run goes: `metrics.csv`, a row an epoch, and where its time went."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from stfmri.study.files import NotRegularFileError, open_text, write_atomic

T = TypeVar("T")

FILE_NAME = "metrics.csv"


def read(path: Path) -> dict[str, list[float]]:
    """Read the epochs that a run has finished.

    Args:
        path: its `metrics.csv`.

    Returns:
        One list a column, all of the same length, by the column's name; NaN where a cell is empty,
        as in a column that began later. Without any column where the file is missing, has no epoch
        or is broken, which an infinite figure tells too: what a kill cut off is written again when
        the run is resumed.
    """
    try:
        with open_text(path, newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        columns: dict[str, list[float]] = {}
        for name in rows[0] if rows else ():
            columns[name] = [_figure(row[name]) for row in rows]
    except (FileNotFoundError, NotRegularFileError, ValueError, TypeError, csv.Error):
        return {}
    return columns


def _figure(cell: str) -> float:
    """A cell's number; NaN where it is empty.

    Raises:
        ValueError: where it is no finite number.
    """
    if cell == "":
        return math.nan
    number = float(cell)
    if not math.isfinite(number):
        raise ValueError(f"{cell} is no figure of an epoch")
    return number


class History:
    """The epochs of a run so far. Only what a checkpoint holds survives a kill."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[dict[str, float]] = []
        self.timings: dict[str, float] = {}

    def add(self, row: dict[str, float], publish: bool = True) -> None:
        """Add an epoch.

        Args:
            publish: write the table again and print a line: one of several processes does.
        """
        self._rows.append(row)
        self.spend("train_s", row["seconds"])
        if publish:
            self._publish(row)

    def _publish(self, row: dict[str, float]) -> None:
        text = io.StringIO()
        # A run that changes its precision on the way has other columns from there on.
        columns = dict.fromkeys(key for one in self._rows for key in one)
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomic(self._path, text.getvalue())
        validation = f", validation {row['val_loss']:.4f}" if "val_loss" in row else ""
        print(
            f"epoch {row['epoch']} of {row['epochs']}: loss {row['train_loss']:.4f}{validation}, "
            f"{row['seconds']:.1f} s, {row['samples_per_s']:.2f} volumes/s",
            flush=True,
        )

    def spend(self, what: str, seconds: float) -> None:
        """Add to one of the run's timings."""
        self.timings[what] = self.timings.get(what, 0.0) + seconds

    def samples_per_s(self) -> float:
        """Training volumes a second, the first epoch's warm-up left out where there are more."""
        rows = self._rows[1:] or self._rows
        seconds = sum(row["seconds"] for row in rows)
        return sum(row["samples_per_s"] * row["seconds"] for row in rows) / seconds

    def last(self, column: str) -> float | None:
        """The last epoch's value, where it has one."""
        return self._rows[-1].get(column)

    def column(self, name: str) -> list[float]:
        """A figure of every epoch so far."""
        return [row[name] for row in self._rows]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, in plain values."""
        return {"rows": [dict(row) for row in self._rows], "timings": dict(self.timings)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self._rows = [dict(row) for row in state["rows"]]
        self.timings = dict(state["timings"])


class Stopwatch:
    """Adds up the time that an iterator makes its user wait."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, items: Iterator[T]) -> Iterator[T]:
        """Yield from `items`, timing each wait."""
        while True:
            started = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - started
            yield item
