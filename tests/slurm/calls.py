"""Callables that the tests submit; the jobs import this file from their working directory."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from slurm.executor import Resources, submit_array


def append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


@dataclass
class Report:
    """Writes what a job sees of its surroundings, then fails if asked to."""

    path: Path
    fail: bool = False

    def __call__(self) -> str:
        names = ("SLURM_CPUS_PER_TASK", "CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "OMP_NUM_THREADS")
        seen = {name: os.environ.get(name) for name in names}
        seen |= {"cwd": str(Path.cwd()), "code": __file__}
        self.path.write_text(json.dumps(seen))
        if self.fail:
            raise ValueError(f"asked to fail at {self.path.name}")
        return self.path.name


@dataclass
class Count:
    """Writes how many files of a pattern there are when it runs."""

    folder: Path
    pattern: str
    into: Path

    def __call__(self) -> None:
        self.into.write_text(str(len(list(self.folder.glob(self.pattern)))))


@dataclass
class Sleep:
    """Sleeps; its `finally` leaves a line."""

    path: Path
    seconds: float = 300

    def __call__(self) -> None:
        append(self.path, "begin")
        try:
            time.sleep(self.seconds)
        finally:
            append(self.path, "end")


@dataclass
class Resume:
    """Sleeps in its first attempts, as training that runs out of time does, and then finishes."""

    path: Path
    attempts: int

    def checkpoint(self) -> None:
        append(self.path, "checkpoint")

    def __call__(self) -> None:
        worker = os.fork()  # a data-loading worker inherits handlers and gets every signal
        if worker == 0:
            time.sleep(300)
            os._exit(0)
        append(self.path, "attempt")
        if self.path.read_text().count("attempt") < self.attempts:
            time.sleep(300)
        os.kill(worker, signal.SIGKILL)
        append(self.path, "finished")


@dataclass
class SlowToLoad(Resume):
    """Takes a while to be unpickled, as a callable does that imports much."""

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        append(self.path, "loading")
        time.sleep(2)

    def __call__(self) -> None:
        if self.path.read_text().count("loading") < self.attempts:
            time.sleep(300)
        append(self.path, "finished")


@dataclass
class SubmitAnother:
    """Submits a job from inside a job."""

    folder: Path
    path: Path

    def __call__(self) -> str:
        [job] = submit_array(
            [Report(self.path)],
            Resources(time_min=5),
            folder=self.folder,
            name="inner",
            workdir=Path.cwd(),
        )
        return str(job)


@dataclass
class KillItself:
    """Dies as the kernel's out-of-memory killer does it, long after a warning."""

    after_s: float = 0

    def __call__(self) -> None:
        print("UserWarning: of no account", file=sys.stderr, flush=True)
        time.sleep(self.after_s)
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Crash:
    """Dies in native code, as by a bad pointer, some time after an error that did not matter."""

    def __call__(self) -> None:
        print_a_caught_error()
        os.kill(os.getpid(), signal.SIGSEGV)


@dataclass
class CaughtThenKilled:
    """Prints the traceback of an error that did not matter, and is killed."""

    def __call__(self) -> None:
        print_a_caught_error()
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Leave:
    """Ends as a native library does that cannot go on: with a line and a status."""

    status: int

    def __call__(self) -> None:
        print_a_caught_error()
        print("FATAL ERROR: cannot load libx.so", file=sys.stderr, flush=True)
        os._exit(self.status)


def print_a_caught_error() -> None:
    try:
        raise ValueError("caught")
    except ValueError:
        traceback.print_exc()


@dataclass
class Overlap:
    """Notes when it began and ended; the first waits for a second to begin beside it."""

    path: Path

    def __call__(self) -> None:
        append(self.path, f"{time.monotonic()} 1")
        patience = time.monotonic() + 60
        while self.path.read_text().count(" 1\n") < 2 and time.monotonic() < patience:
            time.sleep(0.05)
        time.sleep(0.5)
        append(self.path, f"{time.monotonic()} -1")
