"""A root with a tiny cohort in its cache, and sweeps small enough to train in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

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
