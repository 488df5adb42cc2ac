"""How a job can end before its work is done, and what SLURM and the logs say then.

A new ending is one more record; status, logs and the decision between failed and stopped follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Lines that SLURM's own programs write into a job's log
DAEMON = re.compile(r"^(?:slurmstepd|slurmd|sbatch|srun)[^:]*: (?:error: )?")
# submitit's, when it is told that the time is nearly up or that the job must make room
SUBMITIT = re.compile(r"^submitit [A-Z]+ \([^)]*\) - ")


@dataclass(frozen=True)
class Ending:
    """One way to end.

    Attributes:
        name: as users read it, such as "timed out".
        is_error: whether the run itself is to blame, and would end so again.
        states: what SLURM calls such a job in squeue and sacct.
        slurm: what SLURM writes into the job's log.
        submitit: what submitit writes there.
        error: what the error of a Python process or of the shell says.
    """

    name: str
    is_error: bool
    states: tuple[str, ...] = ()
    slurm: re.Pattern[str] | None = None
    submitit: re.Pattern[str] | None = None
    error: re.Pattern[str] | None = None


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.I)


# By whom or why, SLURM does not say
REQUEUED = Ending(
    "requeued", is_error=False, states=("REQUEUED",), slurm=_words("DUE TO JOB REQUEUE")
)
# By whom or why, a signal does not say either
KILLED = Ending(
    "killed",
    is_error=False,
    slurm=_words(r"tasks? [\d,-]+: Killed$"),
    error=_words(r"^(?:killed|ended) by SIG[A-Z]+"),
)
# SLURM says CANCELLED of every job that it ends itself: what tells more comes first
ENDINGS = (
    Ending(
        "out of memory",
        is_error=True,
        states=("OUT_OF_MEMORY",),
        slurm=_words(r"oom[-_ ]kill|out of memory|exceeded (?:job |step )?memory limit"),
        error=_words(
            r"MemoryError|OutOfMemory|out of memory|can(?:'t|not) allocate memory|std::bad_alloc"
        ),
    ),
    Ending(
        "disk full",
        is_error=True,
        slurm=_words("no space left on device|disk quota exceeded"),
        error=_words("no space left on device|disk quota exceeded|file too large"),
    ),
    Ending(
        "timed out",
        is_error=True,
        states=("TIMEOUT", "DEADLINE"),
        slurm=_words("DUE TO TIME LIMIT"),
        submitit=_words("this job is timed-out"),
        error=_words("timed-out and not checkpointable"),
    ),
    Ending(
        "preempted",
        is_error=False,
        states=("PREEMPTED",),
        slurm=_words("DUE TO PREEMPTION"),
        submitit=_words("this job is preempted"),
    ),
    Ending(
        "lost its node",
        is_error=False,
        states=("NODE_FAIL", "BOOT_FAIL"),
        slurm=_words("DUE TO NODE FAILURE"),
    ),
    REQUEUED,
    Ending("cancelled", is_error=False, states=("CANCELLED",), slurm=_words("CANCELLED AT")),
    KILLED,
)


def of_state(state: str) -> Ending | None:
    """The ending that SLURM's word for a job means; None for `COMPLETED`, `FAILED` and others."""
    return next((ending for ending in ENDINGS if state in ending.states), None)


def of_error(text: str) -> Ending | None:
    """The ending that an error message tells of."""
    return next((one for one in ENDINGS if one.error and one.error.search(text)), None)


def in_lines(lines: Iterable[str]) -> tuple[Ending, str] | None:
    """The ending that the lines of one attempt's log tell, and the line that tells it best.

    What SLURM wrote comes before what submitit took its signal for, unless that tells more.
    """
    lines = list(lines)
    slurm = [DAEMON.sub("", line).strip(" *") for line in lines if DAEMON.match(line)]
    submitit = [SUBMITIT.sub("", line).strip() for line in lines if line.startswith("submitit ")]
    by_slurm = _first((ending, ending.slurm, slurm) for ending in ENDINGS)
    by_submitit = _first((ending, ending.submitit, submitit) for ending in ENDINGS)
    if by_slurm is not None and by_slurm[0] not in (REQUEUED, KILLED):
        return by_slurm
    return by_submitit or by_slurm


def _first(
    sought: Iterable[tuple[Ending, re.Pattern[str] | None, list[str]]],
) -> tuple[Ending, str] | None:
    """The first ending of which a line tells, and the last such line."""
    for ending, words, lines in sought:
        for line in reversed(lines):
            if words is not None and words.search(line):
                return ending, line
    return None
