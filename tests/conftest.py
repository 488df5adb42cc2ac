"""What every room's tests share: where the real scans are, and a tool that CI may not lack."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from stfmri.study.networks import lacking

# The tests state what a CPU computes, to the last digit; a GPU's sums differ in theirs. Those
# marked `gpu` start processes that see ALL_GPUS; pytest-xdist's processes inherit the variable.
ALL_GPUS = os.environ.setdefault("STFMRI_TEST_GPUS", os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# Threads of several test processes would wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if find_spec("hypothesis"):  # which a GPU machine may lack
    import hypothesis

    # How long an example takes says how busy the machine is, not whether the code is right.
    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.load_profile("untimed")


def skip_or_fail(reason: str) -> None:
    """Skip on a user's machine; fail in CI, where nothing but a GPU may be missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def need_library(network: str) -> None:
    """Skip or fail where the library is missing that builds this network."""
    if install := lacking(network):
        skip_or_fail(f"{network} needs a library: {install}")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans: ixi_hh, heads and glioma (see CONTRIBUTING.md)."""
    folder = Path(os.environ.get("STFMRI_TEST_DATA", "../shared/data")).expanduser().resolve()
    if not (folder / "ixi_hh" / "participants.csv").is_file():
        skip_or_fail(f"no real scans at {folder}; set STFMRI_TEST_DATA (see CONTRIBUTING.md)")
    return folder
