"""Run callables on this machine: a bounded number at a time, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from slurm.errors import ClusterError
from slurm.executor import make_private
from slurm.logs import error_in, last_line, last_words, log_paths
from slurm.queue import Job
from slurm.task import as_task

if TYPE_CHECKING:
    from submitit.core.utils import JobPaths

# submitit has no "no limit" for local jobs: ten years, and no time-out
NO_LIMIT_MIN = 10 * 365 * 24 * 60
MAX_TIMEOUTS = 0
# Each call has a folder of its own
JOB = Job("0")
POLL_S = 0.1
# What processes may take to end by themselves before they are killed
END_PATIENCE_S = 10.0
# Linux counts in it the processes that it killed since it started, on the whole machine
KERNEL_COUNTS = Path("/proc/vmstat")
# From the kernel's decision to kill a process to its end: it has its memory to give back
KILL_S = 1.0
# Signals by which native code ends its own process
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)


@dataclass(frozen=True)
class Outcome:
    """How one local call ended.

    Attributes:
        index: position of the call.
        error: None if it returned; else the line that tells why not.
        result: what it returned.
        log: its standard error.
    """

    index: int
    error: str | None
    result: object
    log: Path


@dataclass(frozen=True)
class _Running:
    index: int
    slot: int
    process: subprocess.Popen[bytes]
    folder: Path


def run_local(
    calls: Sequence[Callable[[], object]],
    *,
    limit: int,
    folder: Path,
    workdir: Path,
    on_change: Callable[[int, str], None] | None = None,
    on_end: Callable[[Outcome], None] | None = None,
    gpus: Sequence[str] = (),
    threads: int = 0,
    python: str = sys.executable,
) -> list[Outcome]:
    """Run callables, at most `limit` at a time; one that fails does not stop the others.

    Interrupt (Ctrl-C), TERM and HUP end the running processes first, then this one; that needs
    the main thread.

    Args:
        calls: picklable callables without arguments.
        limit: processes at a time, at least 1.
        folder: logs and pickles go to a new folder in it, one subfolder a call.
        workdir: the processes' working directory, first on Python's path.
        on_change: told `(index, "running" | "done" | "failed")` as it happens; of the first,
            just before the process starts.
        on_end: told the outcome of each call before `on_change` is.
        gpus: device names to hand out in turn, one a process; empty leaves all visible to all.
        threads: of each process; 0: OMP_NUM_THREADS where it is set, else an equal share of the
            CPUs.
        python: interpreter of the processes.

    Returns:
        One outcome a call, in the order of `calls`.

    Raises:
        ClusterError: if `limit` or `workdir` cannot be used.
        KeyboardInterrupt, SystemExit: after an interrupt or another signal.
    """
    if limit < 1:
        raise ClusterError(f"the number of processes at a time must be at least 1; found {limit}")
    if not workdir.is_dir():
        raise ClusterError(f"expected the working directory; found no folder at {workdir}")
    folder = folder.absolute()
    make_private(folder)
    folder = Path(tempfile.mkdtemp(prefix="local-", dir=folder))
    tell = on_change or _say_nothing
    waiting = list(range(len(calls)))
    slots = list(range(limit))
    running: list[_Running] = []
    outcomes: dict[int, Outcome] = {}
    kills = deque([oom_kills()], maxlen=1 + round(KILL_S / POLL_S))
    with _caught_signals() as caught:
        try:
            while (waiting or running) and not caught:
                while waiting and slots and not caught:
                    index, slot = waiting.pop(0), slots.pop(0)
                    own = folder / f"{index:04d}"
                    task = as_task(
                        calls[index], _environment(gpus, slot, limit, threads), os.getpid()
                    )
                    tell(index, "running")
                    process = _start(task, own, workdir, python)
                    running.append(_Running(index, slot, process, own))
                time.sleep(POLL_S)
                ended = [one for one in running if one.process.poll() is not None]
                kills.append(oom_kills())
                for one in ended:
                    running.remove(one)
                    slots.append(one.slot)
                    outcomes[one.index] = _outcome(one, kills[0], kills[-1])
                    if on_end is not None:
                        on_end(outcomes[one.index])
                    tell(one.index, "failed" if outcomes[one.index].error else "done")
        finally:
            _end([one.process for one in running])
    if caught:
        if caught[0] == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + caught[0])
    return [outcomes[index] for index in range(len(calls))]


def _say_nothing(index: int, state: str) -> None:
    """Stand in for a caller who does not follow the changes."""


def _environment(
    gpus: Sequence[str], slot: int, limit: int, threads: int
) -> Mapping[str, str | None]:
    """A process's GPU, and how many threads it has."""
    mine = gpus[slot % len(gpus)] if gpus else os.environ.get("CUDA_VISIBLE_DEVICES")
    share = max(1, len(os.sched_getaffinity(0)) // limit)
    count = str(threads or os.environ.get("OMP_NUM_THREADS") or share)
    return {
        "CUDA_VISIBLE_DEVICES": mine,
        "OMP_NUM_THREADS": count,
        # Within an allocation it would be what the whole job has
        "SLURM_CPUS_PER_TASK": count.split(",")[0],
    }


def environment_for_code() -> dict[str, str]:
    """This process's environment, with which another one finds the code in its working directory.

    PYTHONSAFEPATH, which would take that off the path, is left out.
    """
    return {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}


def _start(
    task: Callable[[], object], folder: Path, workdir: Path, python: str
) -> subprocess.Popen[bytes]:
    """Start the process of one call.

    By submitit's runner, but without its controller, which keeps the exit status to itself.
    """
    # Late: submitit takes a while to start, and most callers only ask
    from submitit.core.utils import DelayedSubmission

    make_private(folder)
    submission = DelayedSubmission(task)
    submission.set_timeout(NO_LIMIT_MIN, MAX_TIMEOUTS)
    submission.dump(_paths(folder).submitted_pickle)
    command = [python, "-u", "-m", "submitit.core._submit", str(folder)]
    environment = {
        **environment_for_code(),
        "SUBMITIT_EXECUTOR": "local",
        "SUBMITIT_LOCAL_JOB_ID": str(JOB),
        "SUBMITIT_LOCAL_GLOBALID": "0",
    }
    out_log, error_log = log_paths(folder, JOB)
    # The child inherits that the terminal's interrupt is not for it
    with out_log.open("ab") as out, error_log.open("ab") as error, _ignored_interrupt():
        return subprocess.Popen(command, stdout=out, stderr=error, cwd=workdir, env=environment)


def _paths(folder: Path) -> JobPaths:
    """Where submitit's runner looks for a call, and leaves what it returned."""
    from submitit.core.utils import JobPaths

    return JobPaths(folder, str(JOB))


def _outcome(one: _Running, kills_before: int | None, kills: int | None) -> Outcome:
    log = log_paths(one.folder, JOB)[1]
    try:
        with _paths(one.folder).result_pickle.open("rb") as file:
            kind, result = pickle.load(file)
    except FileNotFoundError:  # it had no time to leave a result
        error = _why_ended(one, kills_before, kills)
        return Outcome(one.index, error, None, log)
    if kind == "success":
        return Outcome(one.index, None, result, log)
    return Outcome(one.index, error_in(result), None, log)  # its traceback


def _why_ended(one: _Running, kills_before: int | None, kills: int | None) -> str:
    """What is known of a process that ended without a result."""
    status = one.process.returncode
    if status == -signal.SIGKILL:  # whatever it said before, it did not know of this
        return _as_killed(kills_before, kills)
    if said := last_words(one.folder, JOB):
        return said
    if status < 0:
        number = signal.Signals(-status)
        return f"{'crashed with' if number in CRASHES else 'killed by'} {number.name}"
    line = last_line(one.folder, JOB)
    told = f"the last line of its log: {line}" if line else "its log is empty"
    return f"ended without a word, with exit status {status}; {told}"


def _as_killed(before: int | None, now: int | None) -> str:
    """What is known of a process that SIGKILL ended.

    Args:
        before, now: processes that the kernel had ended for want of memory, on the whole machine,
            shortly before and when this one had ended; None where it does not count them.
    """
    if before is not None and now is not None and now > before:
        return (
            "probably out of memory: killed by SIGKILL while the kernel ended processes for want "
            "of it"
        )
    return "killed by SIGKILL, by somebody or for want of memory"


def oom_kills() -> int | None:
    """How many processes the kernel has ended for want of memory; None where it does not say."""
    try:
        counts = dict(line.split() for line in KERNEL_COUNTS.read_text().splitlines())
        return int(counts["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End running processes: politely, then by force."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + END_PATIENCE_S
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(POLL_S)
    for process in processes:
        process.kill()


@contextlib.contextmanager
def _caught_signals() -> Iterator[list[signal.Signals]]:
    """Collect the signals that ask this process to end, instead of dying at any line."""
    caught: list[signal.Signals] = []

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        caught.append(signal.Signals(number))

    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in asked}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _ignored_interrupt() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
