"""Where a job's logs are, and the one line in them that tells why it failed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from slurm import endings
from slurm.endings import Ending
from slurm.queue import Job
from slurm.task import ATTEMPT

# Only the end of a log matters, and a training log can be long
TAIL_BYTES = 256 * 1024
NOISE = re.compile(r"^(?:srun: |submitit (?:DEBUG|INFO|WARNING|ERROR) )|^\s*$")
TRACEBACK = "Traceback (most recent call last):"
CRASH = "Fatal Python error: "  # first words of what faulthandler writes


def log_paths(folder: Path, job: Job) -> tuple[Path, Path]:
    """The standard output and the standard error of a job submitted with this `folder`."""
    return folder / f"{job}_0_log.out", folder / f"{job}_0_log.err"


def last_error_line(folder: Path, job: Job) -> str | None:
    """The line that tells best why a job failed.

    Args:
        folder: the folder given at submission.
        job: the job or array task.

    Returns:
        None if it has no log yet, or nothing in the log is worth telling.
    """
    return error_in(_tail(log_paths(folder, job)[1]))


def last_ending(folder: Path, job: Job) -> tuple[Ending, str] | None:
    """How SLURM ended the job's last attempt, and the line that says so; None where it did not."""
    tails = (_tail(path) for path in reversed(log_paths(folder, job)))
    return next(filter(None, (endings.in_lines(_last_attempt(tail)) for tail in tails)), None)


def error_in(log: str) -> str | None:
    """The line of a standard error log that tells best why its last attempt failed.

    SLURM's own words come first (time limit, out of memory, cancelled), then the last crash in
    native code or the exception that ended the last traceback, then the last line that is not mere
    chatter.
    """
    lines = _last_attempt(log)
    ended = endings.in_lines(line for line in lines if not line.startswith("submitit "))
    if ended is not None:
        return ended[1]
    starts = [number for number, line in enumerate(lines) if line.startswith((TRACEBACK, CRASH))]
    if starts:
        if lines[starts[-1]].startswith(CRASH):
            return lines[starts[-1]].strip()
        for line in lines[starts[-1] + 1 :]:
            if line and not line[0].isspace():
                return line.strip()
    told = _telling(lines)
    return told[-1].strip() if told else None


def last_line(folder: Path, job: Job) -> str | None:
    """The last line of a job's last attempt that is not mere chatter; None where there is none."""
    told = _telling(_last_attempt(_tail(log_paths(folder, job)[1])))
    return told[-1].strip() if told else None


def last_words(folder: Path, job: Job) -> str | None:
    """The line by which the process itself said that it was ending; None where it had no time to.

    That is a crash in native code, the signal that it acted on, or the exception of a traceback
    that nothing follows. What it printed some time before is not taken for the cause.
    """
    lines = _telling(_last_attempt(_tail(log_paths(folder, job)[1])))
    said = [line for line in lines if line.startswith(CRASH) or of_signal(line)]
    if said:
        return said[-1]
    starts = [number for number, line in enumerate(lines) if line.startswith(TRACEBACK)]
    last = [line for line in lines[starts[-1] + 1 :] if not line[0].isspace()] if starts else []
    return last[0] if len(last) == 1 else None


def of_signal(line: str) -> bool:
    """Whether a line says that a signal ended the process."""
    return endings.of_error(line) is endings.KILLED


def _telling(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if not NOISE.match(line)]


def _last_attempt(log: str) -> list[str]:
    lines = log.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(ATTEMPT)]
    return lines[starts[-1] + 1 :] if starts else lines


def _tail(path: Path) -> str:
    """The last TAIL_BYTES of a file as text; empty if there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
