"""A real SLURM for the tests: started once, on this machine, stopped at the end."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurm.devcluster import daemons
from slurm.devcluster.cluster import DevCluster, missing_packages
from slurm.queue import Job, alive
from tests.conftest import skip_or_fail

# Small, so that a few tasks already need several arrays
MAX_ARRAY_SIZE = 5


def need_slurm() -> None:
    """Skip without SLURM; under CI=true fail, since there it must be installed."""
    missing = missing_packages()
    if missing:
        skip_or_fail(f"needs SLURM: apt-get install {' '.join(missing)}")


@pytest.fixture
def cluster_folder() -> Iterator[Path]:
    """A folder with a path short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-test-"))
    yield folder
    daemons.stop_all(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def dev_cluster() -> Iterator[DevCluster]:
    need_slurm()
    folder = Path(tempfile.mkdtemp(prefix="slurm-test-"))
    with DevCluster(folder, max_array_size=MAX_ARRAY_SIZE) as started:
        yield started
    assert daemons.of_cluster(folder) == {}
    shutil.rmtree(folder)


@pytest.fixture
def cluster(dev_cluster: DevCluster, monkeypatch: pytest.MonkeyPatch) -> DevCluster:
    """The cluster, found by every client of this test through SLURM_CONF."""
    for name, value in dev_cluster.environment().items():
        monkeypatch.setenv(name, value)
    return dev_cluster


def frozen_code(folder: Path) -> Path:
    """A copy of the callables, as a sweep freezes its code; the path needs quoting."""
    code = folder / "frozen code ü"
    package = code / "tests" / "slurm"
    package.mkdir(parents=True)
    for init in (package.parent / "__init__.py", package / "__init__.py"):
        init.touch()
    shutil.copy(Path(__file__).with_name("calls.py"), package)
    return code


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return frozen_code(tmp_path)


def wait_for(happened: Callable[[], object], timeout_s: float = 30) -> None:
    """Wait until `happened()` is true, and fail if it does not become so."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        if time.monotonic() > deadline:
            queue = subprocess.run(["squeue", "--array"], capture_output=True, text=True).stdout
            pytest.fail(f"it did not happen in {timeout_s:g} s; the queue:\n{queue}")
        time.sleep(0.1)


def wait_until_ended(*jobs: Job, timeout_s: float = 30) -> None:
    wait_for(lambda: not set(jobs) & set(alive()), timeout_s)


def lines_of(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def start_now(job: Job) -> None:
    """Lift the two minutes for which SLURM holds a requeued job."""
    wait_for(lambda: alive()[job].state == "PENDING")
    # SLURM refuses to start a job within the second in which it revoked the job's credential
    time.sleep(1.5)
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)
