"""One process a run."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stfmri.study import locks
from stfmri.study.errors import RunHeldError

HOLD = """
import sys, time
from pathlib import Path
from stfmri.study.locks import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold_elsewhere(folder: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def rewrite(folder: Path, **changes: object) -> None:
    path = folder / "lock"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_second_holder_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    child = hold_elsewhere(tmp_path)
    try:
        with (
            pytest.raises(RunHeldError, match=f"process {child.pid} on .*, since 20"),
            locks.lock(tmp_path),
        ):
            pytest.fail("two processes hold the run")
        assert locks.holder(tmp_path).pid == child.pid
    finally:
        child.kill()
        child.communicate()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    child = hold_elsewhere(tmp_path)
    child.kill()
    child.communicate()
    assert (tmp_path / "lock").exists()
    assert locks.holder(tmp_path) is None
    with locks.lock(tmp_path):
        assert locks.holder(tmp_path).pid == os.getpid()
    assert sorted(tmp_path.iterdir()) == []


def test_a_process_number_used_again_is_not_the_holder(tmp_path: Path) -> None:
    with locks.lock(tmp_path):
        rewrite(tmp_path, started="1")
        assert locks.holder(tmp_path) is None


def test_a_holder_elsewhere_lives_while_it_touches_the_file(tmp_path: Path) -> None:
    with locks.lock(tmp_path):
        rewrite(tmp_path, host="another", pid=1)
        assert locks.holder(tmp_path).host == "another"
        long_ago = time.time() - locks.STALE_S - 1
        os.utime(tmp_path / "lock", (long_ago, long_ago))
        assert locks.holder(tmp_path) is None


def test_a_requeued_job_takes_over_its_own_lock_from_another_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    with locks.lock(tmp_path):
        rewrite(tmp_path, host="another", pid=1)
        assert json.loads((tmp_path / "lock").read_text())["job"] == "12_3"
        with locks.lock(tmp_path):
            assert locks.holder(tmp_path).pid == os.getpid()


def test_the_holder_keeps_its_lock_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "TOUCH_S", 0.01)
    with locks.lock(tmp_path):
        os.utime(tmp_path / "lock", (1, 1))
        deadline = time.monotonic() + 5
        while (tmp_path / "lock").stat().st_mtime < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (tmp_path / "lock").stat().st_mtime > 2


def test_a_lock_that_is_no_longer_ours_is_left_alone(tmp_path: Path) -> None:
    with locks.lock(tmp_path):
        rewrite(tmp_path, host="another", pid=1)
    assert (tmp_path / "lock").exists()


def _race(folder: str, ready, result) -> None:
    ready.wait()
    try:
        with locks.lock(Path(folder)):
            result.put("held")
            time.sleep(0.5)
    except RunHeldError:
        result.put("refused")


def test_of_many_that_find_a_dead_holder_one_wins(tmp_path: Path) -> None:
    child = hold_elsewhere(tmp_path)
    child.kill()
    child.communicate()
    context = multiprocessing.get_context("spawn")
    ready, result = context.Barrier(6), context.Queue()
    racers = [context.Process(target=_race, args=(str(tmp_path), ready, result)) for _ in range(6)]
    for racer in racers:
        racer.start()
    answers = sorted(result.get(timeout=30) for _ in racers)
    for racer in racers:
        racer.join()
    assert answers == ["held", *["refused"] * 5]


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00binary",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"host": "HOST", "pid": "x", "started": null, "job": "", "since": ""}',
        b'{"host": "HOST", "pid": 1, "started": null, "job": "", "since": ""}',
    ],
)
def test_a_lock_that_no_holder_wrote_is_nobodys(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content.replace(b"HOST", socket.gethostname().encode()))
    assert locks.holder(tmp_path) is None
    with locks.lock(tmp_path):
        assert locks.holder(tmp_path).pid == os.getpid()
