"""Reads of regular files alone; durable, private writes: a temporary name, flushed, then renamed.

Folders hold patient data and are readable by their owner alone (mode 0700).
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stfmri.study.errors import UserError

# Names that become part of a path: no separators, no leading dot, no shell or HTML characters.
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
# What `replacing` calls a file until it is complete; a lock's temporary files are left to locks.
_TEMPORARY = re.compile(r"\.(?!lock\.).+\.[a-z0-9_]{8}\.tmp")
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotRegularFileError(UserError):
    """A pipe, a device, a socket or a folder where a file was expected."""


def safe_name(name: str, what: str) -> str:
    """Return `name` if it may stand in a path or a job name.

    Raises:
        UserError: if it holds anything but letters, digits, `.`, `_`, `+` and `-`.
    """
    if not SAFE_NAME.fullmatch(name):
        raise UserError(
            f"{what} must be letters, digits, '.', '_', '+' or '-', starting with a letter or "
            f"digit and at most 100 long; found {name!r}"
        )
    return name


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading; a pipe or a device, which might never end, is not waited for.

    Raises:
        NotRegularFileError: where it is anything but a regular file.
        OSError: where there is none, or it cannot be read.
    """
    # Without O_NONBLOCK, opening a pipe waits until somebody writes to it.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        _require_regular(path, path.stat().st_mode)  # a socket cannot be opened at all
        raise
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
        raise NotRegularFileError(f"cannot read {path}: expected a regular file, found {kind}")


def read_bytes(path: Path) -> bytes:
    """The content of a regular file; raises as `open_regular` does."""
    with open_regular(path) as file:
        return file.read()


def open_text(path: Path, encoding: str = "utf-8", newline: str | None = None) -> io.TextIOWrapper:
    """As `open_regular`, for text; `newline` is as in `open`, and "" for the csv module."""
    return io.TextIOWrapper(open_regular(path), encoding, newline=newline)


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """The text of a regular file, with `\\n` for every line end; raises as `open_regular` does."""
    with open_text(path, encoding) as file:
        return file.read()


def sha256_of(path: Path) -> str:
    """The sha256 of a regular file, in hexadecimal; raises as `open_regular` does."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def absolute(path: str | Path, start: Path | None = None) -> Path:
    """`path` from the root of the file system, with `~` and `~name` as the shell has them.

    Args:
        start: the folder where a relative path starts; the current one by default.

    Raises:
        UserError: where no user has that name.
    """
    try:
        return (start or Path.cwd()) / Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"no home folder is known for {path}; write the path out, or ./{path} for a folder of "
            "that name"
        ) from error


def private_dir(path: Path) -> Path:
    """Make `path` and its missing parents, each readable by the owner alone."""
    for folder in reversed([path, *path.parents]):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it into place.

    On an exception the temporary file is removed and `path` is left as it was.
    """
    with renaming(path) as temporary:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
    _flush_folder(path.parent)


@contextmanager
def renaming(path: Path) -> Iterator[Path]:
    """As `replacing`, safe against kills, but without waiting for the disk.

    After a loss of power the file may be missing, empty or the old one: for what is checked before
    it is used, and cheap to make again.
    """
    private_dir(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` so that a reader sees the old file or the whole new one."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def clear_leftovers(folders: Iterable[Path]) -> None:
    """Delete the temporary files that a kill left in these folders, whose lock the caller holds."""
    for folder in folders:
        for path in folder.glob(".*.tmp"):
            if _TEMPORARY.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
