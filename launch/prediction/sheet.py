"""Answers as a table: CSV that a spreadsheet opens without running anything."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from launch.prediction.answers import Answer
from launch.prediction.examine import Examined

# What spreadsheets take for the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
FURTHER = ("networks", "agreeing", "seen_by", "training_percentile", "brain", "warnings", "error")


def as_csv(answers: Sequence[Answer], refused: Sequence[Examined], classes: Sequence[str]) -> str:
    """The table as text; of a refused scan only its path and the reason.

    Columns: `scan, prediction, prob_<class> …` (means over networks), `low_<class> …, high_<class>
    …` (their range), and `FURTHER`.
    """
    text = io.StringIO()
    # Every cell in quotes: csv would leave a carriage return bare, and what follows begins a row.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    ranges = (f"{prefix}_{name}" for prefix in ("prob", "low", "high") for name in classes)
    header = ("scan", "prediction", *ranges, *FURTHER)
    writer.writerow(map(as_text, header))
    for answer in answers:
        of_networks = answer.probability_FK
        numbers = (answer.probability_K, of_networks.min(axis=0), of_networks.max(axis=0))
        known = answer.familiarity
        writer.writerow(
            [
                as_text(answer.name),
                as_text(answer.prediction),
                *(f"{value:.4f}" for values in numbers for value in values),
                len(of_networks),
                answer.agreeing,
                answer.seen_by,
                "" if known is None else f"{known.percentile:.0f}",
                as_text(answer.brain),
                as_text("; ".join(answer.warnings)),
                "",
            ]
        )
    for scan in refused:
        empty = [""] * (len(header) - 2)
        writer.writerow([as_text(scan.scan.subject_id), *empty, as_text(scan.reason)])
    return text.getvalue()


def as_text(cell: str) -> str:
    """A cell that a spreadsheet shows and does not compute: one like a formula gets an apostrophe.

    After OWASP, 'CSV Injection'.
    """
    return f"'{cell}" if cell.startswith(FORMULA) else cell
