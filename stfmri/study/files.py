"""Durable, private writes: a temporary name in the same folder, flushed, then renamed.

Folders hold patient data and are readable by their owner alone (mode 0700).
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stfmri.study.errors import UserError

# Names that become part of a path: no separators, no leading dot, no shell or HTML characters.
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


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


def sha256_of(path: Path) -> str:
    """The file's sha256, in hexadecimal."""
    with path.open("rb") as file:
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
    private_dir(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` so that a reader sees the old file or the whole new one."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _flush_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
