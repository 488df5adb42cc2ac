"""Complete checkpoints, published by rename: `checkpoint/epoch-NNNN/state.pt`.

What was drawn at random is not stored: every epoch draws from generators seeded by its own number,
so an epoch begun again repeats itself.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from stfmri.study.errors import UserError
from stfmri.study.files import private_dir

_PUBLISHED = re.compile(r"epoch-(\d{4,})")


def save(run: Path, epoch: int, state: dict[str, Any]) -> Path:
    """Publish the state after `epoch` epochs, then drop older checkpoints.

    Args:
        state: tensors and plain values only, so that it can be read with `weights_only=True`.
    """
    folder = private_dir(run / "checkpoint")
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
    if target.exists():  # a folder cannot be replaced by rename
        shutil.rmtree(target)
    temporary.rename(target)
    for _, older in _published(folder):
        if older != target:
            shutil.rmtree(older)
    return target


def discard(run: Path) -> None:
    """Drop every checkpoint, of a run that will not be resumed."""
    shutil.rmtree(run / "checkpoint", ignore_errors=True)


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


def load_newest(run: Path, device: torch.device) -> dict[str, Any] | None:
    """The newest complete checkpoint's state, or None where there is none.

    Raises:
        UserError: where the checkpoint cannot be read.
    """
    published = _published(run / "checkpoint")
    if not published:
        return None
    file = published[-1][1] / "state.pt"
    try:
        state = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # torch.load raises many kinds; each means it cannot be resumed
        raise UserError(
            f"cannot read the checkpoint {file} ({str(error).splitlines()[0]}); delete "
            f"{file.parent} to resume from an older one or from the start"
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"the checkpoint {file} holds no training state; delete {file.parent}")
    return state


def _published(folder: Path) -> list[tuple[int, Path]]:
    """Complete checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    found = [(_PUBLISHED.fullmatch(path.name), path) for path in folder.iterdir()]
    return sorted((int(match[1]), path) for match, path in found if match)
