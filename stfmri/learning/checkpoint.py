"""Complete checkpoints, published by rename: `checkpoint/epoch-NNNN/state.pt`.

The last two are kept: where the newest cannot be read, the one before it is used. torch.save writes
a checksum of every tensor into the file, which torch.load does not look at; `read_tensors` does.

What was drawn at random is not stored: every epoch draws from generators seeded by its own number,
so an epoch begun again repeats itself.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from stfmri.study.errors import UserError, first_line
from stfmri.study.files import open_regular, private_dir
from stfmri.study.naming import CHECKPOINTS

# What loading the state of another network, or of no network, raises.
UNFIT = (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError)
# What says nothing of a file: memory, or the GPU, that other work has taken.
OF_THE_MACHINE = (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)
# A file that is not there; and a place in it that cannot be, as a damaged archive may name.
_OF_DAMAGE = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL)
_PUBLISHED = re.compile(r"epoch-(\d{4,})")


def save(run: Path, epoch: int, state: dict[str, Any]) -> Path:
    """Publish the state after `epoch` epochs, then drop all other checkpoints but the one before.

    Args:
        state: tensors and plain values only, so that it can be read with `weights_only=True`.
    """
    folder = private_dir(run / CHECKPOINTS)
    for leftover in folder.glob(".epoch-*.tmp"):
        shutil.rmtree(leftover)
    target = folder / f"epoch-{epoch:04d}"
    temporary = folder / f".{target.name}.tmp"
    temporary.mkdir(mode=0o700)
    try:
        write_tensors(temporary / "state.pt", state)
    except BaseException:  # such as a full disk, which the unfinished file must not keep full
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _remove(target)  # a folder cannot be replaced by rename
    temporary.rename(target)
    before = [path for number, path in _published(folder) if number < epoch]
    _drop_others(folder, [target, *before[-1:]])
    return target


def keep_newest(run: Path) -> None:
    """Drop all checkpoints but the newest, of a run that is done."""
    folder = run / CHECKPOINTS
    _drop_others(folder, [path for _, path in _published(folder)[-1:]])


def _drop_others(folder: Path, kept: list[Path]) -> None:
    for _, path in _published(folder):
        if path not in kept:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def discard(run: Path) -> None:
    """Drop every checkpoint, of a run that will not be resumed."""
    shutil.rmtree(run / CHECKPOINTS, ignore_errors=True)


def write_tensors(file: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values to `file`, through to the disk.

    Raises:
        OSError: naming `file`, where the system cannot write it; torch itself raises an error of
            its ZIP writer's, which tells nothing.
    """
    try:
        with file.open("wb") as handle:
            torch.save(content, handle)
            handle.flush()
            os.fsync(handle.fileno())
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise OSError(cause.errno, cause.strerror, str(file)) from error


def read_tensors(file: Path) -> Any:
    """What `write_tensors` wrote, on the CPU, every byte of it checked against its checksum.

    Raises:
        UserError: naming `file`, where it has changed since, or is no such file.
        OSError: where the system does not give it: a file server that is away for a moment must
            not cost the training so far.
    """
    try:
        with open_regular(file) as handle, zipfile.ZipFile(handle) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} in it has changed since it was written")
        return torch.load(file, map_location="cpu", weights_only=True)
    except OF_THE_MACHINE:
        raise
    except Exception as error:  # zipfile and torch raise many kinds; each means the same
        if isinstance(error, OSError) and error.errno not in _OF_DAMAGE:
            raise
        raise UserError(f"{file} is damaged, or no file of tensors: {first_line(error)}") from error


def newest_first(run: Path, warn: Callable[[str], None]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The complete checkpoints and their states, on the CPU.

    One that cannot be read counts as absent.

    Args:
        warn: told of each of these.
    """
    for _, folder in reversed(_published(run / CHECKPOINTS)):
        try:
            state = read_tensors(folder / "state.pt")
        except UserError as error:
            warn(f"warning: this checkpoint counts as absent: {error}")
            continue
        if isinstance(state, dict):
            yield folder, state
        else:
            warn(f"warning: this checkpoint counts as absent: {folder} holds no training state")


def _published(folder: Path) -> list[tuple[int, Path]]:
    """Complete checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    found = [(_PUBLISHED.fullmatch(path.name), path) for path in folder.iterdir()]
    return sorted((int(match[1]), path) for match, path in found if match)
