"""What a job runs around the caller's callable: mark the attempt, act on signals, resume.

submitit pickles a task at submission and loads it on the node. Of its signal handlers, the one
for USR2 (the time limit is near, or the job is preempted) is kept; those for TERM and CONT, which
only print a line, would let a cancelled job linger until SLURM kills it.
"""

from __future__ import annotations

import faulthandler
import os
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

# First words of the line that starts each attempt in a log; a requeued job appends to the same log
ATTEMPT = "----- attempt"
# Starts the interpreter anew with USR2 blocked. The new one keeps such a signal until it can act on
# it; by default it would die of it, unrequeued, if it came while Python still imports.
BLOCK_AND_START = (
    "import os, signal, sys; "
    "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2}); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
# Exit status of a process that a signal has ended: this and the signal's number, as shells have it
BY_SIGNAL = 128
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# A process that was told to end has this long for its `finally` blocks
GRACE_S = 5
# Between two looks at whether the launcher lives
LOOK_S = 1.0


@dataclass
class Task:
    """A callable as the cluster runs it.

    Attributes:
        call: takes no arguments; picklable.
        environment: variables to set (None: remove) before the call, whatever the executor set.
        launcher: on this machine, the process that started it and without which it shall not go on.
    """

    call: Callable[[], object]
    environment: Mapping[str, str | None] = field(default_factory=dict)
    launcher: int | None = None

    def __call__(self) -> object:
        """Run the callable and return what it returns."""
        for name, value in self.environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        faulthandler.enable()  # else a crash in native code would leave nothing in the log
        announce_attempt()
        handle_signals()
        if self.launcher is not None:
            _end_with(self.launcher)
        return self.call()


class ResumableTask(Task):
    """A task that is requeued when its time is up, because its callable has `checkpoint`."""

    def checkpoint(self) -> DelayedSubmission:
        """Let the callable prepare, then submit the same callable again: its state is on disk.

        What the callable's own `checkpoint()` returns is not used.
        """
        from submitit.helpers import DelayedSubmission

        # From here on the process ends by itself. The requeue brings a TERM to the whole job,
        # which must not cut it short, nor kill the `scontrol` that asks for it.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.call.checkpoint()  # type: ignore[attr-defined]
        return DelayedSubmission(self)


def as_task(
    call: Callable[[], object],
    environment: Mapping[str, str | None] | None = None,
    launcher: int | None = None,
) -> Task:
    """Wrap a callable; one that has a `checkpoint` method becomes resumable."""
    kind = ResumableTask if callable(getattr(call, "checkpoint", None)) else Task
    return kind(call, environment or {}, launcher)


def announce_attempt() -> None:
    """Write to both logs which attempt begins, since a requeued job appends to the same logs."""
    number = int(os.environ.get("SLURM_RESTART_COUNT", "0")) + 1
    moment = time.strftime("%Y-%m-%d %H:%M:%S")
    for stream in (sys.stdout, sys.stderr):
        print(f"{ATTEMPT} {number} on {socket.gethostname()} at {moment}", file=stream, flush=True)


def deferring_interpreter(python: str) -> str:
    """Shell words that start an interpreter which defers USR2 until `handle_signals`."""
    return shlex.join([python, "-I", "-S", "-c", BLOCK_AND_START])


def handle_signals() -> None:
    """End on TERM, and leave submitit's handler of USR2 to this process alone.

    SLURM signals every process of the job. A forked child, such as a data-loading worker, would
    inherit submitit's handler and requeue the job a second time.
    """
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGCONT, signal.SIG_DFL)
    os.register_at_fork(after_in_child=_be_a_plain_child)
    # submitit's handler is in place by now; a signal that came early is handled here
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})


def _end_with(launcher: int) -> None:
    """Watch the launcher; where it was killed, nobody would hear of this process any more."""

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(LOOK_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """Leave by SystemExit, so that `finally` blocks run, but not for longer than GRACE_S."""
    print(ended_by(BY_SIGNAL + number), file=sys.stderr, flush=True)
    # The alarm's default action ends a process that hangs while it cleans up
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(GRACE_S)
    raise SystemExit(BY_SIGNAL + number)


def ended_by(status: object) -> str:
    """Which signal ended a process, of its exit status; "" where none of those that are handled."""
    known = {BY_SIGNAL + number: number for number in ENDING_SIGNALS}
    return f"ended by {known[status].name}" if status in known else ""


def _be_a_plain_child() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
