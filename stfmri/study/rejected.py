"""`rejected.csv` of a cache: the scans that gave no volume, and why."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stfmri.study.files import open_text, write_atomic
from stfmri.study.shards import CacheError

FILE_NAME = "rejected.csv"
COLUMNS = ("subject_id", "path", "reason")


LEFT_OUT = "left out: "  # how the reason of a scan that data.exclude names begins


@dataclass(frozen=True)
class Rejected:
    """One scan of the cohort without a volume."""

    subject_id: str
    path: str
    reason: str

    @property
    def left_out(self) -> bool:
        """Whether a person left it out, by data.exclude."""
        return self.reason.startswith(LEFT_OUT)


def write_rejected(cache: Path, scans: Iterable[Rejected]) -> None:
    """Write `rejected.csv`, whose header is there even where no scan was rejected."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([scan.subject_id, scan.path, scan.reason] for scan in scans)
    write_atomic(cache / FILE_NAME, text.getvalue())


def read_rejected(cache: Path) -> tuple[Rejected, ...] | None:
    """The rejected scans in the order of the cohort; None where the cache has no such file.

    Raises:
        CacheError: where the file is no such table.
    """
    path = cache / FILE_NAME
    try:
        with open_text(path, newline="") as file:
            table = csv.reader(file, strict=True)
            header, *rows = [*table] or [[]]
    except FileNotFoundError:
        return None
    except (csv.Error, ValueError) as error:
        raise CacheError(
            f"{path} is damaged ({error}); python -m preprocessing writes it again"
        ) from error
    if tuple(header) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        raise CacheError(
            f"{path} must have the columns {', '.join(COLUMNS)}; python -m preprocessing writes it "
            "again"
        )
    return tuple(Rejected(*row) for row in rows)
