"""Benchmarks are scripts beside each other, in no package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.benchmarks.bare import bare_environment

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a GPU machine without most of the project's libraries."""
    return bare_environment(tmp_path_factory.mktemp("bare"))
