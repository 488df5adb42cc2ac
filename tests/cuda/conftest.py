"""The null device, built once a session."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import skip_or_fail
from tests.cuda import null_device
from tests.cuda.null_device import NullDevice


@pytest.fixture(scope="session")
def null(tmp_path_factory: pytest.TempPathFactory) -> NullDevice:
    """A CUDA device that computes nothing; see `null_device.py`."""
    try:
        return null_device.build(tmp_path_factory.mktemp("null_device"))
    except null_device.CannotBuildError as error:
        skip_or_fail(str(error))
        raise


@pytest.fixture(scope="session")
def seen(null: NullDevice, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `observe.py` saw: captures, runs and steps."""
    folder = tmp_path_factory.mktemp("seen")
    done = null.run("tests.cuda.observe", str(folder))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "seen.json").read_text())
    return found
