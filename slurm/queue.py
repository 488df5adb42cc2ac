"""What the cluster's queue holds: one `squeue` call, and the limits that a submission must keep.

Accounting (`sacct`) is not asked: many clusters have none, and it may answer with an older job of
the same number. What is done is decided from the jobs' own files, what is alive from here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from slurm.errors import ClusterError

# A busy controller answers some calls with a time-out; asking again a little later helps. A command
# asks three times at most, so that the cluster keeps nobody waiting for more than half a minute.
ATTEMPTS = 3
PAUSE_S = 2.0
PATIENCE_S = 10.0  # for all attempts together
# SLURM gives this where MaxArraySize cannot be read
DEFAULT_MAX_ARRAY_SIZE = 1001
MAX_ARRAY_SIZE = re.compile(r"MaxArraySize\s*=\s*(\d+)")
# What the clients say where they are installed and no cluster is
NO_CLUSTER = re.compile(r"establish a configuration source|unable to status file .*slurm\.conf")
A_DAY = timedelta(days=1)

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
# A user's own filters, which would hide jobs
FILTERS = ("SQUEUE_", "SACCT_")

SQUEUE = ("squeue", f"--user={os.getuid()}", "--array", "--format=%F|%K|%T|%S|%L|%r|%Z")
# squeue prints it above an empty queue too: without it, nothing is known of the queue
HEADER = re.compile(r"[A-Z_]+(\|[A-Z_]+){6}")
JOB_LINE = re.compile(
    r"(?P<job>\d+)\|(?P<index>\d+|N/A)\|(?P<state>[A-Z_]+)\|(?P<start>[^|]*)\|(?P<left>[^|]*)\|"
    r"(?P<reason>[^|]*)\|(?P<workdir>.*)"
)


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


@contextlib.contextmanager
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
        ClusterError: if squeue is missing, the cluster does not answer, or what it answers is no
            queue; an empty queue has a header.
    """
    return dict(_read_queue(_ask(*SQUEUE)))


def remembered(jobs: Collection[Job], since: datetime) -> dict[Job, str]:
    """SLURM's word for the state of jobs that may have ended: CANCELLED, TIMEOUT, COMPLETED, ...

    The controller remembers a job for some minutes, accounting, where there is one, for long. This
    describes an end and proves none: a job may be missing, and accounting may be late.

    Args:
        jobs: which ones.
        since: none of them is older; accounting may know another job of the same number.
    """
    if not jobs:
        return {}
    found: dict[Job, str] = {}
    numbers = ",".join(sorted({job.job_id for job in jobs}, key=int))
    window = f"--starttime={since - A_DAY:%Y-%m-%d}"  # the cluster's clock has its own time zone
    which = ("sacct", f"--jobs={numbers}", window, "--allocations", "--array")
    with contextlib.suppress(ClusterError):
        for line in _ask(*which, "--noheader", "--parsable2", "--format=JobID,State", attempts=1):
            name, _, state = line.partition("|")
            with contextlib.suppress(ValueError):  # tasks that wait, as 12_[3-7]
                found[Job.parse(name)] = state.partition(" ")[0]  # of "CANCELLED by 1000"
    with contextlib.suppress(ClusterError):
        queue = dict(_read_queue(_ask(*SQUEUE, "--states=all", attempts=1)))
        found |= {job: state.state for job, state in queue.items()}
    return {job: state for job, state in found.items() if job in jobs}


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


def _read_queue(lines: Sequence[str]) -> Iterator[tuple[Job, JobState]]:
    """The jobs below the header, and what squeue says of each."""
    headers = [number for number, line in enumerate(lines) if HEADER.fullmatch(line)]
    if not headers:
        found = f"{lines[0][:100]!r}" if lines else "nothing at all"
        raise ClusterError(
            f"squeue must print a header, even above an empty queue; it printed {found}"
        )
    for line in lines[headers[0] + 1 :]:
        match = JOB_LINE.fullmatch(line)
        if match is None:
            raise ClusterError(f"expected a job in each line of squeue; found {line[:100]!r}")
        index = match["index"]
        yield (
            Job(match["job"], int(index) if index.isdigit() else None),
            JobState(
                match["state"],
                match["reason"],
                _moment(match["start"]),
                seconds(match["left"]),
                Path(match["workdir"]),
            ),
        )


def _moment(text: str) -> datetime | None:
    """A time as squeue prints it; None for N/A and the like."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


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
    matches = (MAX_ARRAY_SIZE.match(line) for line in _ask("scontrol", "show", "config"))
    match = next(filter(None, matches), None)
    return max(1, int(match[1])) if match else DEFAULT_MAX_ARRAY_SIZE


def _ask(*command: str, attempts: int = ATTEMPTS) -> list[str]:
    """Lines that a SLURM client prints, blank ones left out; asked again if the cluster is busy.

    Raises:
        ClusterError: if the client is missing, fails or does not answer in PATIENCE_S.
    """
    complaint = ""
    deadline = time.monotonic() + PATIENCE_S
    for attempt in range(attempts):
        if attempt:
            time.sleep(PAUSE_S)
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            break
        try:
            with outside_any_job():
                answer = subprocess.run(
                    command,
                    env={k: v for k, v in os.environ.items() if not k.startswith(FILTERS)},
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    encoding="utf-8",
                    errors="replace",
                    timeout=left_s,
                    check=False,
                )
        except FileNotFoundError:
            raise ClusterError(
                f"expected SLURM's '{command[0]}' on the PATH; found none; run this on a login "
                "node, load the cluster's SLURM module, or pass cluster=local"
            ) from None
        except OSError as error:  # no program, or not ours to run
            complaint = f"{error.strerror}: {error.filename}"
            break
        except subprocess.TimeoutExpired:
            complaint = complaint or f"no answer in {PATIENCE_S:g} s"
            break
        if answer.returncode == 0:
            return [line.strip() for line in answer.stdout.splitlines() if line.strip()]
        complaint = " ".join(answer.stderr.split()) or f"status {answer.returncode}"
    raise ClusterError(
        f"the cluster did not answer '{command[0]}': {complaint} (launch/doctor.py looks for the "
        "cause; cluster=local does without a cluster)"
    )
