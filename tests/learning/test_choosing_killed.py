"""A run that chooses, killed at every stage, ends as if nothing had happened."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from stfmri.learning import choosing
from stfmri.study import predictions, selection
from stfmri.study.config.split import SplitConfig
from stfmri.study.config.training import CheckpointConfig, TrainConfig
from stfmri.study.runs import Sweep
from tests.learning.small import small_network
from tests.selecting import selecting_config, selecting_sweep

__all__ = ["small_network"]  # a fixture
pytestmark = [pytest.mark.usefixtures("small_network"), pytest.mark.slow]

RATES = {"train.learning_rate": (1e-3, 1e-2, 3e-2)}
# Trains a run, and kills itself when a function has been called often enough.
SCRIPT = """
import os, signal, sys
from pathlib import Path
from stfmri.learning import checkpoint, choosing, models
from stfmri.study import selection
from tests.learning.small import SMALL

def killing(function, calls):
    def wrapped(*arguments):
        nonlocal calls
        calls -= 1
        result = function(*arguments)
        if not calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return wrapped

models.NETWORKS["mc3_18"] = SMALL
config, module, name, calls = sys.argv[1:]
module = {"checkpoint": checkpoint, "selection": selection}[module]
setattr(module, name, killing(getattr(module, name), int(calls)))
choosing.train(Path(config), side_by_side=2)
"""


def sweep_in(root: Path) -> Sweep:
    config = selecting_config(
        root,
        RATES,
        split=SplitConfig(n=1),
        train=TrainConfig(
            epochs=3,
            batch_size=4,
            precision="fp32",
            threads=1,
            schedule="cosine",
            average_last=0.6,
            batch_norm="recomputed",
        ),
        checkpoint=CheckpointConfig(every_s=0),
    )
    return selecting_sweep(config)


def test_killed_within_a_candidate_between_and_within_the_run_it_predicts_the_same(
    tmp_path: Path,
) -> None:
    [whole] = sweep_in(tmp_path / "whole").runs
    AcceleratorState._reset_state(reset_partial_state=True)
    choosing.train(whole.config_file, side_by_side=2)

    killed_sweep = sweep_in(tmp_path / "killed")
    [killed] = killed_sweep.runs
    inner = killed_sweep.inner_runs(killed)

    def until_killed(module: str, name: str, calls: int) -> None:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(killed.config_file), module, name, str(calls)],
            check=False,
        )
        assert done.returncode == -signal.SIGKILL

    # The last candidate is trained first; the kill comes after an epoch of the one before it.
    until_killed("checkpoint", "save", 4)
    assert [one.is_done() for one in inner] == [False, False, True]
    until_killed("selection", "write", 1)
    assert all(one.is_done() for one in inner)
    assert selection.read(killed.folder) is not None
    assert not (killed.folder / "metrics.csv").exists()
    until_killed("checkpoint", "save", 2)
    assert (killed.folder / "checkpoint" / "epoch-0002").is_dir()
    AcceleratorState._reset_state(reset_partial_state=True)
    choosing.train(killed.config_file, side_by_side=2)

    assert selection.read(killed.folder) == selection.read(whole.folder)
    rows = [predictions.read(run.folder / "predictions.csv").rows for run in (killed, whole)]
    assert rows[0] == rows[1]
