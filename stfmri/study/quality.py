"""`qc.csv` of a cache: what quality control measured of every volume.

`subject_id, source, <label>`, a column for each measure (empty where it is not known), `oriented`,
`missing` (contrasts), `brain` (how the brain was found), `scan_sha256` and `warnings`. A run keeps
the rows of its training subjects with its weights, so that a new scan can be compared with them.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stfmri.study.files import NotRegularFileError, open_text, write_atomic

FILE_NAME = "qc.csv"
NUMBERS_FROM = 3  # columns before the measures: subject, source and class
LAST_COLUMNS = ("oriented", "missing", "brain", "scan_sha256", "warnings")


@dataclass(frozen=True)
class Quality:
    """One volume's row.

    Attributes:
        brain: how the brain was found: `given`, `stripped` or `extracted`; empty where the cache
            is older than this column.
        scan_sha256: of the first contrast's stored numbers, whatever its header, its compression
            or the mask; empty as above.
        numbers: measure → value, of those that are known.
    """

    brain: str = ""
    scan_sha256: str = ""
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingScan:
    """What a run keeps of one of its training volumes; `sha256` is that of its voxels."""

    sha256: str
    quality: Quality

    def as_plain(self) -> dict[str, Any]:
        """The content as `model.pt` holds it."""
        found = self.quality
        return {
            "sha256": self.sha256,
            "brain": found.brain,
            "scan_sha256": found.scan_sha256,
            "numbers": dict(found.numbers),
        }

    @classmethod
    def of_plain(cls, content: Mapping[str, Any]) -> TrainingScan:
        """What `as_plain` wrote; raises KeyError or TypeError for anything else."""
        numbers = {str(name): float(value) for name, value in content["numbers"].items()}
        found = Quality(str(content["brain"]), str(content["scan_sha256"]), numbers)
        return cls(str(content["sha256"]), found)


def write(
    cache: Path, label: str, measures: Sequence[str], rows: Iterable[tuple[str, str, str, Mapping]]
) -> None:
    """Write `qc.csv`.

    Args:
        label: the column of the class, which may be called as a measure is.
        measures: names of the measures, in order.
        rows: subject, source, class, and the values of the other columns; what is absent or None
            stays empty.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = (*measures, *LAST_COLUMNS)
    writer.writerow(["subject_id", "source", label, *names])
    for subject, source, class_, found in rows:
        values = (found.get(name) for name in names)
        writer.writerow([subject, source, class_, *("" if v is None else v for v in values)])
    write_atomic(cache / FILE_NAME, text.getvalue())


def read(cache: Path) -> dict[str, Quality]:
    """The rows by subject; empty where the file is missing or damaged.

    The numbers are shown with predictions and decide nothing in training, so that a table that
    somebody has edited stops no run.
    """
    try:
        with open_text(cache / FILE_NAME, newline="") as file:
            header, *lines = csv.reader(file, strict=True)
        names = header[NUMBERS_FROM:]
        return {
            line[0]: _quality(dict(zip(names, line[NUMBERS_FROM:], strict=True))) for line in lines
        }
    except (OSError, csv.Error, ValueError, IndexError, NotRegularFileError):
        return {}


def _quality(cells: Mapping[str, str]) -> Quality:
    measured = {name: text for name, text in cells.items() if name not in LAST_COLUMNS and text}
    numbers = {name: float(text) for name, text in measured.items()}
    known = {name: value for name, value in numbers.items() if math.isfinite(value)}
    return Quality(cells.get("brain", ""), cells.get("scan_sha256", ""), known)
