from __future__ import annotations

import errno
import os
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def flip(file: Path, place: int, bit: int = 4) -> None:
    """Turn one bit of a file over."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)


def zeros(file: Path, place: int, count: int) -> None:
    """Overwrite a part of a file with zeros, as a lost block of a disk reads."""
    content = bytearray(file.read_bytes())
    content[place : place + count] = bytes(count)
    file.write_bytes(content)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def newest(run: Path) -> dict[str, Any] | None:
    return next((state for _, state in checkpoint.newest_first(run, print)), None)


def save_two(run: Path) -> Path:
    """Checkpoints of epochs 3 and 4; returns the file of the latter."""
    for epoch in (3, 4):
        checkpoint.save(run, epoch, {"epoch": epoch, "network": {"w": torch.arange(5000.0)}})
    return run / "checkpoint" / "epoch-0004" / "state.pt"


def test_the_newest_checkpoint_and_the_one_before_it_are_kept(tmp_path: Path) -> None:
    for epoch in (1, 2, 10):
        checkpoint.save(tmp_path, epoch, {"epoch": epoch, "network": {"w": torch.ones(2)}})
    assert sorted(names(tmp_path / "checkpoint")) == ["epoch-0002", "epoch-0010"]
    assert newest(tmp_path)["epoch"] == 10
    checkpoint.keep_newest(tmp_path)
    assert names(tmp_path / "checkpoint") == ["epoch-0010"]


def test_a_checkpoint_of_a_later_epoch_goes_when_an_earlier_one_was_used(tmp_path: Path) -> None:
    save_two(tmp_path).write_bytes(b"half")
    checkpoint.save(tmp_path, 3, {"epoch": 3})
    assert names(tmp_path / "checkpoint") == ["epoch-0003"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b"half"),
        lambda file: file.write_bytes(b""),
        lambda file: file.unlink(),
        lambda file: (file.unlink(), os.mkfifo(file)),
        lambda file: torch.save([1, 2], file),
        lambda file: file.write_bytes(file.read_bytes()[:-30]),
        lambda file: flip(file, 9000),
        lambda file: zeros(file, 8000, 4000),
    ],
    ids=["cut", "empty", "missing", "pipe", "foreign", "short", "bit", "zeros"],
)
def test_a_checkpoint_that_cannot_be_read_counts_as_absent_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], object]
) -> None:
    damage(save_two(tmp_path))
    assert newest(tmp_path)["epoch"] == 3
    [line] = capsys.readouterr().out.splitlines()
    assert "counts as absent" in line
    assert "epoch-0004" in line


def test_a_checkpoint_that_the_system_does_not_give_is_not_taken_for_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_two(tmp_path)

    def away(file: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))

    monkeypatch.setattr(checkpoint, "open_regular", away)
    with pytest.raises(OSError, match="Input/output error"):
        newest(tmp_path)


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
def test_memory_that_other_work_has_taken_is_not_the_checkpoints_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    save_two(tmp_path)

    def without_memory(*_: object, **__: object) -> None:
        raise error("out of memory")

    monkeypatch.setattr(torch, "load", without_memory)
    with pytest.raises(error):
        newest(tmp_path)


def test_no_flipped_bit_changes_what_is_read_without_a_word(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    content = {"w": torch.arange(300.0), "n": torch.ones(5, dtype=torch.int64), "epoch": 3}
    checkpoint.write_tensors(file, content)
    whole = file.read_bytes()
    found = 0
    for place in random.Random(0).sample(range(8 * len(whole)), 400):
        file.write_bytes(whole)
        flip(file, place // 8, place % 8)
        try:
            read = checkpoint.read_tensors(file)
        except UserError:
            found += 1
            continue
        assert torch.equal(read["w"], content["w"])
        assert torch.equal(read["n"], content["n"])
        assert read["epoch"] == 3
    assert found > 100  # padding and dates of the archive may change; nothing else may


def test_neither_files_nor_links_in_the_place_of_checkpoints_are_in_the_way(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "epoch-0001").write_text("")
    (folder / "epoch-0002").symlink_to(tmp_path)
    (folder / "epoch-x").mkdir()
    assert newest(tmp_path) is None
    checkpoint.save(tmp_path, 2, {"epoch": 2})
    checkpoint.save(tmp_path, 3, {"epoch": 3})
    assert sorted(names(folder)) == ["epoch-0002", "epoch-0003", "epoch-x"]


@pytest.mark.parametrize("room", [50_000, 400_500])
def test_a_full_disk_is_said_and_costs_no_earlier_checkpoint(tmp_path: Path, room: int) -> None:
    """Full amid the tensors, or only when the last of the file is flushed."""
    checkpoint.save(tmp_path, 1, {"epoch": 1})
    large = {"epoch": 2, "network": {"w": torch.ones(100_000)}}
    with room_for(room), pytest.raises(OSError, match=r"too large: .*epoch-0002.*state\.pt"):
        checkpoint.save(tmp_path, 2, large)
    assert names(tmp_path / "checkpoint") == ["epoch-0001"]
    checkpoint.save(tmp_path, 2, large)
    assert newest(tmp_path)["epoch"] == 2
