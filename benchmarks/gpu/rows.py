"""Rows of a benchmark as figures of the report."""

from __future__ import annotations

from collections.abc import Sequence

from common import Row

from gpu.record import Report


def add_rows(report: Report, rows: Sequence[Row], notes: Sequence[str] = ()) -> None:
    """Note every row, then judge those with a mark, so that a missed one hides no other."""
    note_rows(report, rows)
    for note in notes:
        report.say(note)
    judge_rows(report, rows)


def note_rows(report: Report, rows: Sequence[Row]) -> None:
    """Note what was measured."""
    for row in rows:
        shown = [row.ours, row.peer and f"peer {row.peer}", row.ratio]
        report.add(row.what, ", ".join(filter(None, shown)))


def judge_rows(report: Report, rows: Sequence[Row]) -> None:
    """Judge the rows that have a mark."""
    for row in rows:
        if row.met is not None:
            report.add(f"{row.what}: {row.mark} is met", int(row.met), least=1)
