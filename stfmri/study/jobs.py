"""jobs.csv: which job each run was handed to, a line a submission."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stfmri.study.files import private_dir, read_bytes

JOBS_FILE = "jobs.csv"
JOB_COLUMNS = ("run", "job_id", "array_index", "submitted_at")
JOB_LINE = re.compile(r"(?P<run>[^,]+),(?P<job>[0-9]+),(?P<index>[0-9]*),(?P<at>[^,]+)")


@dataclass(frozen=True)
class Submission:
    """A line of jobs.csv."""

    run: str
    job_id: str
    array_index: int | None  # None: no array
    submitted_at: str  # UTC, ISO


def append_jobs(sweep_folder: Path, lines: Sequence[Submission]) -> None:
    """Add lines to jobs.csv, in one write, so that two submissions do not mix."""
    rows = [
        f"{line.run},{line.job_id},{'' if line.array_index is None else line.array_index},"
        f"{line.submitted_at}\n"
        for line in lines
    ]
    path = private_dir(sweep_folder) / JOBS_FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        before = file.read()
        if not before:
            rows.insert(0, ",".join(JOB_COLUMNS) + "\n")
        elif not before.endswith(b"\n"):
            rows.insert(0, "\n")  # a full disk cut the last line off; it must not spoil the next
        file.write("".join(rows).encode())
        file.flush()
        os.fsync(descriptor)


def submissions(sweep_folder: Path) -> list[Submission]:
    """Every line of jobs.csv, in order; what a cut-off line leaves is passed over."""
    path = sweep_folder / JOBS_FILE
    try:
        text = read_bytes(path).decode(errors="replace")
    except FileNotFoundError:
        return []
    lines = map(JOB_LINE.fullmatch, text.split("\n"))
    return [
        Submission(
            line["run"], line["job"], int(line["index"]) if line["index"] else None, line["at"]
        )
        for line in lines
        if line
    ]


def last_jobs(sweep_folder: Path) -> dict[str, Submission]:
    """The last submission of each run."""
    return {line.run: line for line in submissions(sweep_folder)}


def now() -> str:
    """This moment as jobs.csv has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
