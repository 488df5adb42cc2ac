"""Errors a user can mend, and how an entry point tells them."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import ParamSpec

P = ParamSpec("P")
INTERRUPTED = 130  # exit status, as shells have it


class UserError(Exception):
    """A mistake in the call, the configuration or the data: shown as one line, exit status 2.

    The message says what was expected, what was found, in which file, and what to do.
    """


class ConfigError(UserError):
    """A configuration value or key that cannot be used."""


class LeakageError(UserError):
    """The same subject, patient or volume stands on both sides of a split."""


class RunHeldError(Exception):
    """Another live process holds the run; exit status 1, since nothing was wrong with the call."""


class TrainingError(Exception):
    """Training that cannot go on, such as a loss that is no number; exit status 1."""


class DivergedError(TrainingError):
    """A loss that is no number any more."""


def first_line(error: Exception) -> str:
    """The first line of an error's text; its kind, where it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]


def exit_on_error(main: Callable[P, int]) -> Callable[P, int]:
    """Turn errors that a user can mend into one line on stderr and an exit status."""

    @functools.wraps(main)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            with _ended_like_an_interrupt():
                return main(*args, **kwargs)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except (RunHeldError, TrainingError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except OSError as error:  # a full disk, a folder of somebody else's, a path through a file
            # The system's own words: HDF5 puts several lines in their place.
            said = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
            where = "" if error.filename is None else f"{error.filename}: "
            print(f"error: {where}{said}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return INTERRUPTED

    return guarded


def resumable(main: Callable[P, int]) -> Callable[P, int]:
    """Say on an interrupt that the same command goes on; it lies inside `exit_on_error`."""

    @functools.wraps(main)
    def said(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from what is saved", file=sys.stderr)
            return INTERRUPTED

    return said


@contextlib.contextmanager
def _ended_like_an_interrupt() -> Iterator[None]:
    """TERM, as a shutdown or `timeout` sends it, ends a command as tidily as Ctrl-C does."""

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    # A job has a handler of its own, and only the main thread may set one.
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    ):
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
