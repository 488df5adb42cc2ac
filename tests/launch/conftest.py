"""A root with a tiny cohort in its cache, and sweeps small enough to train in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from slurm.local import Outcome
from tests.tiny import CLASSES, tiny_cache, tiny_config

TINY = (
    "data=table",
    "data.name=tiny",
    f"data.classes=[{','.join(CLASSES)}]",
    "data.folder=null",
    "preprocessing.spacing_mm=10",
    "preprocessing.field_mm=[120,120,120]",
    "split.n=2",
    "train.epochs=2",
    "train.threads=1",
    "train.precision=fp32",
    "train.learning_rate=1e-3",
    "checkpoint.every_s=0",
    "sweep.models=[mc3_18]",
    # A process a fold that imports scikit-learn takes seconds; test_baselines.py has them.
    "sweep.baselines=[]",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Its cache holds twelve subjects of 12³ voxels."""
    folder = tmp_path / "root (ü) x=1"
    tiny_cache(tiny_config(folder))
    return folder


def submission(root: Path, *more: str) -> list[str]:
    """Arguments of submit.py for a sweep of one network on two folds."""
    return ["--sweep", "demo", "--root", str(root), *TINY, *more]


def train_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train on this machine in the tests' own process, which has imported torch already.

    That runs get processes of their own, with the frozen code, is tested in test_train_here.py.
    """

    def run_local(
        calls: Sequence[Callable[[], object]],
        *,
        folder: Path,
        on_change: Callable[[int, str], None],
        **rest: object,
    ) -> list[Outcome]:
        for index, call in enumerate(calls):
            AcceleratorState._reset_state(reset_partial_state=True)  # one a process, and a run
            on_change(index, "running")
            call()
            on_change(index, "done")
        return [Outcome(index, None, None, folder) for index in range(len(calls))]

    monkeypatch.setattr("launch.local.run_local", run_local)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """See `train_in_this_process`."""
    train_in_this_process(monkeypatch)
