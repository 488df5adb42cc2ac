"""Rows of a benchmark as figures of the report."""

from __future__ import annotations

from collections.abc import Sequence

from common import Row

from gpu.record import Report


def add_rows(report: Report, rows: Sequence[Row], notes: Sequence[str] = ()) -> None:
    """Note every row, then judge those with a mark, so that a missed one hides no other."""
    for row in rows:
        shown = [row.ours, row.peer and f"peer {row.peer}", row.ratio]
        report.add(row.what, ", ".join(filter(None, shown)))
    for note in notes:
        report.say(note)
    for row in rows:
        if row.met is not None:
            report.add(f"{row.what}: {row.mark} is met", int(row.met), least=1)
