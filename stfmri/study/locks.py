"""One process a run: a lock file that names its holder and works on NFS.

The file `lock` in the run's folder is made by linking a finished file into place, which is atomic
on NFS too; kernel locks are not to be had on every file system. A holder on this machine is alive
while its process is; one elsewhere, while it touches the file. A dead holder's lock is taken over.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from stfmri.study.errors import ConfigError, RunHeldError
from stfmri.study.files import private_dir, read_text
from stfmri.study.serialise import from_dict

FILE_NAME = "lock"
TOUCH_S = 30.0  # between two signs of life
STALE_S = 300.0  # without one, a holder on another machine counts as dead
WAIT_STEP_S = 0.5
TAKEOVER_S = 60.0  # a takeover lasts milliseconds; one this old was killed in the middle


@dataclass(frozen=True)
class Holder:
    """Who holds a run."""

    host: str
    pid: int
    started: str  # of the process, in clock ticks since boot; tells a pid used again
    job: str  # SLURM job, "" outside one
    since: str  # local time, ISO

    def __str__(self) -> str:
        job = f", job {self.job}" if self.job else ""
        return f"process {self.pid} on {self.host}{job}, since {self.since}"


@contextmanager
def lock(run_folder: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the run for as long as the block lasts.

    Args:
        wait_s: how long to wait, at most, for another holder to end.

    Raises:
        RunHeldError: naming the live process that holds it already.
    """
    private_dir(run_folder)
    path = run_folder / FILE_NAME
    mine = _me()
    deadline = time.monotonic() + wait_s
    while True:
        try:
            _acquire(path, mine)
            break
        except RunHeldError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(WAIT_STEP_S)
    released = threading.Event()
    pulse = threading.Thread(target=_keep_fresh, args=(path, mine, released), daemon=True)
    pulse.start()
    try:
        yield
    finally:
        released.set()
        pulse.join()
        if _read(path) == mine:
            path.unlink(missing_ok=True)


def holder(run_folder: Path) -> Holder | None:
    """The live process that holds the run, if any."""
    path = run_folder / FILE_NAME
    found = _read(path)
    return found if found is not None and _is_alive(found, path) else None


def was_held_elsewhere(run_folder: Path, host: str, moment: float) -> bool:
    """Whether a process on another machine than `host`, dead since, seemed alive at that moment.

    Args:
        moment: in seconds since 1970.
    """
    path = run_folder / FILE_NAME
    found = _read(path)
    try:
        return found is not None and found.host != host and path.stat().st_mtime > moment - STALE_S
    except FileNotFoundError:
        return False


def _acquire(path: Path, mine: Holder) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{FILE_NAME}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(asdict(mine)))
        if _link(temporary, path):
            return
        _refuse_if_held(path)
        # Of several processes that find the holder dead, one at a time looks again and replaces.
        takeover = path.with_name(f"{FILE_NAME}.takeover")
        _drop_if_older(takeover, TAKEOVER_S)
        if not _link(temporary, takeover):
            raise RunHeldError(f"another process is taking over {path.parent} right now")
        try:
            _refuse_if_held(path)
            temporary.replace(path)
        finally:
            takeover.unlink(missing_ok=True)
    finally:
        temporary.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    return True


def _refuse_if_held(path: Path) -> None:
    held = holder(path.parent)
    if held is not None:
        raise RunHeldError(f"{path.parent} is held by {held}; wait for it, or end it first")


def _drop_if_older(path: Path, age_s: float) -> None:
    try:
        if time.time() - path.stat().st_mtime > age_s:
            path.unlink()
    except FileNotFoundError:
        return


def _read(path: Path) -> Holder | None:
    try:
        return from_dict(Holder, json.loads(read_text(path)), file=str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ConfigError, ValueError, TypeError, RecursionError):
        return None  # a file that no holder wrote


def _is_alive(found: Holder, path: Path) -> bool:
    if found.host == socket.gethostname():
        return _process_start(found.pid) == found.started
    if found.job and found.job == _job():
        return False  # the same job, queued again on this node: its old process has ended
    try:
        return time.time() - path.stat().st_mtime < STALE_S
    except FileNotFoundError:
        return False


def _keep_fresh(path: Path, mine: Holder, released: threading.Event) -> None:
    """Touch the lock until it is released, or somebody else's."""
    while not released.wait(TOUCH_S):
        try:
            if _read(path) != mine:
                return
            os.utime(path)
        except OSError:
            continue  # the file server is away for a moment; the next touch tries again


def _me() -> Holder:
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    started = _process_start(os.getpid())
    return Holder(socket.gethostname(), os.getpid(), started or "", _job(), now)


def _job() -> str:
    """The SLURM job of this process, `<array job>_<index>` for a task of an array."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID", "")


def _process_start(pid: int) -> str | None:
    """When the process started, in ticks since boot; None where it does not live."""
    try:
        # Field 22 of stat; the second, the program's name, may itself hold blanks.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]
