"""First steps one run at a time: cuDNN times its algorithms in them and keeps the fastest.

Runs that share a GPU would time each other, and each would keep a poor choice to its end. The locks
are the kernel's, on files of this machine: one whose holder dies is free at once.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import torch

WAIT_S = 300.0  # at most, for the runs ahead; a search takes some seconds
LAST_WAIT_S = 60.0  # at most, for the runs behind
LOOK_S = 0.05


@contextmanager
def alone_on(device: torch.device, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the GPU's lock while the block lasts, for the steps in which cuDNN chooses.

    Then wait until the runs that are waiting for it now have chosen too, so that this one's
    training does not spoil their timing. On a CPU, and where nobody else is at work, it costs
    nothing. Waiting has an end, and where the machine has no such locks there is none.

    Args:
        wait_s: how long to wait, at most, for the runs ahead.
    """
    if device.type != "cuda":
        yield
        return
    with ExitStack() as files:
        queue, turn = (_opened(files, f"{_name(device)}.{role}") for role in ("queue", "turn"))
        # Everyone who has still to choose shares the first; the one who is choosing has the second.
        _take(queue, fcntl.LOCK_SH, wait_s)
        if not _take(turn, fcntl.LOCK_EX, wait_s):
            _say(f"waited {wait_s:.0f} s for other runs' first steps on this GPU; goes on anyway")
        try:
            yield
            if torch.cuda.is_initialized():
                torch.cuda.synchronize(device)  # its steps are on the device still
        finally:
            _release(turn)
            _release(queue)
        _take(queue, fcntl.LOCK_EX, LAST_WAIT_S)


def lock_folder() -> Path:
    """This user's folder of locks, on this machine and readable by nobody else.

    Raises:
        PermissionError: where somebody else has made it.
    """
    folder = Path(tempfile.gettempdir()) / f"stfmri-locks-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if folder.is_symlink() or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise PermissionError(f"{folder} is not this user's alone; remove it, or set TMPDIR")
    return folder


def _name(device: torch.device) -> str:
    """What tells this GPU from the machine's others: its UUID, or the number that it goes by."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    index = 0 if device.index is None else device.index
    visible = [item.strip() for item in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    number = visible[index] if index < len(visible) and visible[index] else str(index)
    return "gpu-" + re.sub(r"[^A-Za-z0-9-]", "-", str(uuid or number))


def _opened(files: ExitStack, name: str) -> IO[bytes] | None:
    try:
        return files.enter_context((lock_folder() / name).open("ab+"))
    except OSError as error:  # a full or read-only /tmp; no run fails for a lock
        _say(f"first steps are not locked against other runs: {error}")
        return None


def _take(file: IO[bytes] | None, kind: int, wait_s: float) -> bool:
    """Wait for a lock; False where time is up, or where there are no locks."""
    deadline = time.monotonic() + wait_s
    while file is not None:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_S)
        except OSError as error:  # a file system without locks
            _say(f"first steps are not locked against other runs: {error}")
            return True
    return True


def _release(file: IO[bytes] | None) -> None:
    """Free it for every process that has inherited it, such as a loader's worker."""
    if file is not None:
        fcntl.flock(file, fcntl.LOCK_UN)


def _say(text: str) -> None:
    print(f"note: {text}", file=sys.stderr, flush=True)
