"""What a child process does first: tie its life to the process that started it.

Nothing heavy is imported here. A new process imports the module of its first call before it runs
it; with torch and ITK in there it could not notice for seconds that its parent has been killed.
"""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None, use_errno=True)  # here, since after a fork there should be little to do


def start(parent: int) -> None:
    """End with the parent, leave Ctrl-C to it, and compute in one thread.

    Args:
        parent: the process that starts this one, from its main thread.
    """
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Late: torch and ITK take seconds to import, in which the parent may go.
    from preprocessing.worker import one_thread

    one_thread()


def end_with(parent: int) -> None:
    """Have the system kill this process as soon as its parent ends, however that comes about."""
    if _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it has ended already, and nobody will be told
        os._exit(1)
