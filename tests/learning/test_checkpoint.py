from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from stfmri.learning import checkpoint
from stfmri.study.errors import UserError

CPU = torch.device("cpu")


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_only_the_newest_checkpoint_is_kept(tmp_path: Path) -> None:
    for epoch in (1, 2, 10):
        checkpoint.save(tmp_path, epoch, {"epoch": epoch, "network": {"w": torch.ones(2)}})
    assert names(tmp_path / "checkpoint") == ["epoch-0010"]
    state = checkpoint.load_newest(tmp_path, CPU)
    assert state is not None
    assert state["epoch"] == 10


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 3, {"epoch": 3})
    (tmp_path / "checkpoint" / "epoch-0003" / "state.pt").write_bytes(b"half")
    with pytest.raises(UserError, match=r"cannot read the checkpoint .*epoch-0003"):
        checkpoint.load_newest(tmp_path, CPU)


@pytest.mark.parametrize("room", [50_000, 400_500])
def test_a_full_disk_is_said_and_costs_no_earlier_checkpoint(tmp_path: Path, room: int) -> None:
    """Full amid the tensors, or only when the last of the file is flushed."""
    checkpoint.save(tmp_path, 1, {"epoch": 1})
    large = {"epoch": 2, "network": {"w": torch.ones(100_000)}}
    with room_for(room), pytest.raises(OSError, match=r"too large: .*epoch-0002.*state\.pt"):
        checkpoint.save(tmp_path, 2, large)
    assert names(tmp_path / "checkpoint") == ["epoch-0001"]
    checkpoint.save(tmp_path, 2, large)
    state = checkpoint.load_newest(tmp_path, CPU)
    assert state is not None
    assert state["epoch"] == 2
