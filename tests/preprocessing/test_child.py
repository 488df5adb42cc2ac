"""Workers end with the process that started them, however that one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LEADER = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from preprocessing import child

if __name__ == "__main__":
    pool = ProcessPoolExecutor(
        2, mp_context=get_context("spawn"), initializer=child.end_with, initargs=(os.getpid(),)
    )
    for number in range(2):
        pool.submit(time.sleep, 600)
    while len(pool._processes) < 2:
        time.sleep(0.01)
    if sys.argv[1] == "ready":  # both have begun to work
        time.sleep(float(sys.argv[2]))
    print(*pool._processes, flush=True)
    time.sleep(600)
"""


def is_alive(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


@pytest.mark.parametrize("when", ["at once", "ready"])
def test_a_pool_ends_with_its_killed_leader(tmp_path: Path, when: str) -> None:
    script = tmp_path / "leader.py"
    script.write_text(LEADER)
    leader = subprocess.Popen(
        [sys.executable, str(script), when, "1"], stdout=subprocess.PIPE, text=True
    )
    assert leader.stdout is not None
    workers = [int(word) for word in leader.stdout.readline().split()]
    assert len(workers) == 2
    os.kill(leader.pid, signal.SIGKILL)
    leader.communicate()
    deadline = time.monotonic() + 20
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = [worker for worker in workers if is_alive(worker)]
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    assert not left


def test_what_a_worker_imports_first_is_light() -> None:
    """It can notice that its parent is gone only when this is imported; torch takes seconds."""
    code = (
        "import sys, preprocessing.child; "
        "print(sorted({'torch', 'SimpleITK', 'numpy'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


EXTRACTION = """
import nibabel, numpy, sys
from pathlib import Path
from preprocessing.extraction.command import extract_by
from preprocessing.nifti import Image

image = Image(numpy.zeros((3, 3, 3)), numpy.eye(4))
extract_by(lambda head, folder: ["sh", sys.argv[1]], "mask.nii.gz", image)
"""


def test_a_brain_extraction_command_ends_with_its_killed_worker(tmp_path: Path) -> None:
    script, said = tmp_path / "extractor.sh", tmp_path / "pid"
    script.write_text(f"echo $$ > {said}.new; mv {said}.new {said}; exec sleep 600")
    worker = subprocess.Popen([sys.executable, "-c", EXTRACTION, str(script)])
    deadline = time.monotonic() + 60
    while not said.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    command = int(said.read_text())
    assert is_alive(command)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    deadline = time.monotonic() + 10
    while is_alive(command) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = is_alive(command)
    if left:
        os.kill(command, signal.SIGKILL)
    assert not left
