"""What the cluster's queue holds: one `squeue` call, and the limits that a submission must keep.

Accounting (`sacct`) is not asked: many clusters have none, and it may answer with an older job of
the same number. What is done is decided from the jobs' own files, what is alive from here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from slurm.errors import ClusterError

# A busy controller answers some calls with a time-out; asking again a little later helps
ATTEMPTS = 3
PAUSE_S = 2.0
CLIENT_TIMEOUT_S = 60
# SLURM gives this where MaxArraySize cannot be read
DEFAULT_MAX_ARRAY_SIZE = 1001

# Of a surrounding job's environment: what would bind the new job to that job's resources
JOB_PREFIXES = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_", "PMI_", "PMIX_")
JOB_VARIABLES = {
    "CUDA_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "ROCR_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK",
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
}
# Needed to find the cluster at all
KEPT = {"SLURM_CONF"}


@dataclass(frozen=True)
class Job:
    """A job, or one task of an array job.

    Attributes:
        job_id: number of the job; of an array, the number that all its tasks share.
        array_index: index within the array; None for a job that is no array.
    """

    job_id: str
    array_index: int | None = None

    def __str__(self) -> str:
        """As squeue prints it and scancel takes it: `123` or `123_4`."""
        return self.job_id if self.array_index is None else f"{self.job_id}_{self.array_index}"

    @classmethod
    def parse(cls, text: str) -> Job:
        """The job that `123` or `123_4` names.

        Raises:
            ValueError: if the text is neither.
        """
        match = re.fullmatch(r"(\d+)(?:_(\d+))?", text)
        if match is None:
            raise ValueError(f"expected a job as '123' or '123_4'; found {text!r}")
        return cls(match[1], None if match[2] is None else int(match[2]))


@dataclass(frozen=True)
class JobState:
    """What squeue says of a job that has not ended.

    Attributes:
        state: `PENDING`, `RUNNING`, `COMPLETING`, ...
        reason: why it waits (`Priority`, `Resources`, `Dependency`, `BeginTime`, ...), else `None`.
        start: when it started or is expected to, in the cluster's local time; None if unknown.
        left_s: seconds to its time limit; None if unknown or unlimited.
        workdir: its working directory, which tells what it belongs to.
    """

    state: str
    reason: str
    start: datetime | None
    left_s: int | None
    workdir: Path | None = None


def has_slurm() -> bool:
    """Whether this machine can submit to a SLURM cluster."""
    return shutil.which("sbatch") is not None


@contextmanager
def outside_any_job() -> Iterator[None]:
    """While it lasts, this process's environment shows nothing of a job it may run in.

    A job submitted from inside a job would otherwise inherit that job's CPUs, GPUs and pickles.
    `SLURM_CONF` stays. PYTHONSAFEPATH goes, since the frozen code is found through the working
    directory, which that variable takes off the path.
    """
    inside = "SLURM_JOB_ID" in os.environ
    saved = dict(os.environ)
    for name in saved:
        bound = name.startswith(JOB_PREFIXES) or (inside and name in JOB_VARIABLES)
        if (bound and name not in KEPT) or name == "PYTHONSAFEPATH":
            del os.environ[name]
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def alive() -> dict[Job, JobState]:
    """This user's jobs that wait or run, each array task by itself, from one squeue call.

    Raises:
        ClusterError: if squeue is missing or the cluster does not answer.
    """
    text = _ask(
        "squeue",
        f"--user={os.getuid()}",
        "--array",
        "--noheader",
        "--format=%F|%K|%T|%S|%L|%r|%Z",
    )
    return dict(_read_queue_line(line) for line in text.splitlines() if line.strip())


def jobs_in(folder: Path) -> list[str]:
    """Numbers of this user's jobs that wait or run with a working directory below `folder`.

    Raises:
        ClusterError: if squeue is missing or the cluster does not answer.
    """
    found = {
        job.job_id
        for job, state in alive().items()
        if state.workdir is not None and state.workdir.is_relative_to(folder)
    }
    return sorted(found, key=int)


def _read_queue_line(line: str) -> tuple[Job, JobState]:
    job_id, index, state, start, left, reason, workdir = line.strip().split("|", maxsplit=6)
    job = Job(job_id, int(index) if index.isdigit() else None)
    # Unknown times are written N/A, INVALID, UNLIMITED or NOT_SET
    known = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", start)
    return job, JobState(
        state,
        reason,
        datetime.fromisoformat(start) if known else None,
        seconds(left),
        Path(workdir),
    )


def seconds(duration: str) -> int | None:
    """Seconds of SLURM's `days-hours:minutes:seconds`, of which the left parts may be missing.

    Returns:
        None for anything else, such as `UNLIMITED`.
    """
    match = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", duration)
    if match is None:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def max_array_size() -> int:
    """How many tasks one array job may have here (SLURM's MaxArraySize caps the index).

    Raises:
        ClusterError: if the cluster does not answer.
    """
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"), re.M)
    return max(1, int(match[1])) if match else DEFAULT_MAX_ARRAY_SIZE


def _ask(*command: str) -> str:
    """Standard output of a SLURM client that only reads, asked again if the cluster is busy."""
    complaint = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S)
        try:
            with outside_any_job():
                answer = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    timeout=CLIENT_TIMEOUT_S,
                    check=False,
                )
        except FileNotFoundError:
            raise ClusterError(
                f"expected SLURM's '{command[0]}' on the PATH; found none; run this on a login "
                "node, load the cluster's SLURM module, or pass cluster=local"
            ) from None
        except subprocess.TimeoutExpired:
            complaint = f"no answer in {CLIENT_TIMEOUT_S} s"
            continue
        if answer.returncode == 0:
            return answer.stdout
        complaint = " ".join(answer.stderr.split()) or f"status {answer.returncode}"
    raise ClusterError(
        f"the cluster did not answer '{command[0]}': {complaint} (launch/doctor.py looks for the "
        "cause; cluster=local does without a cluster)"
    )
