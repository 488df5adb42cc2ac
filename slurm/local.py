"""Run callables on this machine: a bounded number at a time, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import pickle
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from slurm.errors import ClusterError
from slurm.executor import make_private
from slurm.logs import last_error_line, last_words, log_paths
from slurm.queue import Job
from slurm.task import as_task

# Late: submitit takes a while to start, and most callers only ask
if TYPE_CHECKING:
    import submitit

# submitit has no "no limit" for local jobs: ten years
NO_LIMIT_MIN = 10 * 365 * 24 * 60
POLL_S = 0.1
# What processes may take to end by themselves before they are killed
END_PATIENCE_S = 10.0
# Linux counts in it the processes that it killed since it started, on the whole machine
KERNEL_COUNTS = Path("/proc/vmstat")


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
    job: submitit.Job[Any]
    folder: Path
    oom_kills: int | None  # of the kernel, when it started


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
        on_change: told `(index, "running" | "done" | "failed")` as it happens.
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
    # Local job numbers are process numbers and come round again: each call has its own folder
    folder = Path(tempfile.mkdtemp(prefix="local-", dir=folder))
    tell = on_change or _say_nothing
    waiting = list(range(len(calls)))
    slots = list(range(limit))
    running: list[_Running] = []
    outcomes: dict[int, Outcome] = {}
    with _caught_signals() as caught:
        try:
            while (waiting or running) and not caught:
                while waiting and slots and not caught:
                    index, slot = waiting.pop(0), slots.pop(0)
                    own = folder / f"{index:04d}"
                    task = as_task(
                        calls[index], _environment(gpus, slot, limit, threads), os.getpid()
                    )
                    kills = oom_kills()
                    job = _start(task, own, workdir, python)
                    running.append(_Running(index, slot, job, own, kills))
                    tell(index, "running")
                time.sleep(POLL_S)
                for one in [one for one in running if one.job.done()]:
                    running.remove(one)
                    slots.append(one.slot)
                    outcomes[one.index] = _outcome(one)
                    if on_end is not None:
                        on_end(outcomes[one.index])
                    tell(one.index, "failed" if outcomes[one.index].error else "done")
        finally:
            _end([one.job for one in running])
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
    # submitit hides all GPUs from a local job unless it is told their numbers
    mine = gpus[slot % len(gpus)] if gpus else os.environ.get("CUDA_VISIBLE_DEVICES")
    share = max(1, len(os.sched_getaffinity(0)) // limit)
    count = str(threads or os.environ.get("OMP_NUM_THREADS") or share)
    return {
        "CUDA_VISIBLE_DEVICES": mine,
        "OMP_NUM_THREADS": count,
        # Within an allocation it would be what the whole job has
        "SLURM_CPUS_PER_TASK": count.split(",")[0],
    }


def _start(
    task: Callable[[], object], folder: Path, workdir: Path, python: str
) -> submitit.Job[Any]:
    import submitit

    make_private(folder)
    executor = submitit.LocalExecutor(folder, python=shlex.quote(python))
    executor.update_parameters(timeout_min=NO_LIMIT_MIN)
    # The child inherits the folder, and that the terminal's interrupt is not for it
    with contextlib.chdir(workdir), _ignored_interrupt():
        return executor.submit(task)


def _outcome(one: _Running) -> Outcome:
    job = Job(one.job.job_id)
    log = log_paths(one.folder, job)[1]
    try:
        with one.job.paths.result_pickle.open("rb") as file:
            kind, result = pickle.load(file)
    except FileNotFoundError:  # killed: it had no time to leave a result
        error = last_words(one.folder, job) or _as_killed(one.oom_kills, oom_kills())
        return Outcome(one.index, error, None, log)
    if kind == "success":
        return Outcome(one.index, None, result, log)
    error = last_error_line(one.folder, job) or "it ended with an error that its log does not name"
    return Outcome(one.index, error, None, log)


def _as_killed(before: int | None, now: int | None) -> str:
    """What is known of a process that ended without a word, which only SIGKILL brings about.

    Args:
        before, now: kills for want of memory, as the kernel counts them; None where it does not.
    """
    if before is None or now is None:
        return "killed by SIGKILL, by somebody or for want of memory"
    if now > before:
        some = "a process" if now - before == 1 else f"{now - before} processes"
        return f"out of memory: killed by SIGKILL, and the kernel ended {some} for want of memory"
    return "killed by SIGKILL, and not by the kernel for want of memory"


def oom_kills() -> int | None:
    """How many processes the kernel has ended for want of memory; None where it does not say."""
    try:
        counts = dict(line.split() for line in KERNEL_COUNTS.read_text().splitlines())
        return int(counts["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


def _end(jobs: Sequence[submitit.Job[Any]]) -> None:
    """End running processes: politely, then by force."""
    for job in jobs:
        # The number cannot be another process's: nobody has waited for this child yet
        if not job.done():
            os.kill(int(job.job_id), signal.SIGTERM)
    deadline = time.monotonic() + END_PATIENCE_S
    while time.monotonic() < deadline and not all(job.done() for job in jobs):
        time.sleep(POLL_S)
    for job in jobs:
        if not job.done():
            # submitit's controller ends when the process it watches, its child, is gone
            subprocess.run(["pkill", "-KILL", "-P", job.job_id], check=False)


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
