"""Runs that share a GPU take turns in the steps in which cuDNN chooses its algorithms."""

from __future__ import annotations

import itertools
import multiprocessing
import stat
import time
from pathlib import Path

import pytest
import torch

from stfmri.learning import gpu_lock
from stfmri.learning.gpu_lock import alone_on, lock_folder

GPU = torch.device("cuda", 0)
SEARCH_S = 0.3


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu_lock.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(gpu_lock, "_name", lambda device: f"gpu-{device.index}")


def _take_a_turn(start: object, times: object, index: int = 0) -> None:
    start.wait()  # type: ignore[attr-defined]
    with alone_on(torch.device("cuda", index)):
        began = time.monotonic()
        time.sleep(SEARCH_S)
        ended = time.monotonic()
    times.put((began, ended, time.monotonic()))  # type: ignore[attr-defined]


def turns(indices: list[int]) -> list[tuple[float, float, float]]:
    """When each of several processes began and ended its search, and when it went on."""
    fork = multiprocessing.get_context("fork")
    start, times = fork.Barrier(len(indices)), fork.SimpleQueue()
    processes = [fork.Process(target=_take_a_turn, args=(start, times, i)) for i in indices]
    for process in processes:
        process.start()
    found = [times.get() for _ in processes]
    for process in processes:
        process.join()
    return sorted(found)


def test_searches_on_one_gpu_follow_each_other_and_nobody_trains_before_the_last() -> None:
    found = turns([0, 0, 0])
    for (_, ended, _), (began, _, _) in itertools.pairwise(found):
        assert began >= ended
    last = max(ended for _, ended, _ in found)
    assert min(went_on for _, _, went_on in found) >= last - 0.02


def test_searches_on_two_gpus_go_on_together() -> None:
    (_, first_ended, _), (second_began, _, _) = turns([0, 1])
    assert second_began < first_ended


def _hold(held: object) -> None:
    with alone_on(GPU):
        held.set()  # type: ignore[attr-defined]
        time.sleep(600)


def test_a_holder_that_was_killed_holds_nothing_and_a_live_one_only_for_so_long(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fork = multiprocessing.get_context("fork")
    held = fork.Event()
    holder = fork.Process(target=_hold, args=(held,))
    holder.start()
    assert held.wait(10)
    began = time.monotonic()
    context = alone_on(GPU, 0.2)
    context.__enter__()
    assert 0.2 <= time.monotonic() - began < 5
    assert "goes on anyway" in capsys.readouterr().err
    holder.kill()
    holder.join()
    began = time.monotonic()
    context.__exit__(None, None, None)
    with alone_on(GPU):
        pass
    assert time.monotonic() - began < 1
    assert capsys.readouterr().err == ""


def test_an_error_in_the_block_frees_the_lock() -> None:
    with pytest.raises(ValueError, match="x"), alone_on(GPU):
        raise ValueError("x")
    with alone_on(GPU, 0.0):
        pass


def test_a_cpu_needs_no_lock_and_makes_no_file(tmp_path: Path) -> None:
    with alone_on(torch.device("cpu")):
        assert list(tmp_path.iterdir()) == []


def test_locks_lie_in_a_private_folder(tmp_path: Path) -> None:
    with alone_on(GPU):
        pass
    assert stat.S_IMODE(lock_folder().stat().st_mode) == 0o700
    assert lock_folder().parent == tmp_path


def test_a_folder_that_others_may_enter_is_not_trusted_and_stops_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = lock_folder()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="not this user's alone"):
        lock_folder()
    with alone_on(GPU):
        pass
    assert "not locked" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [folder]
