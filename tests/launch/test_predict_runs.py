"""Which runs answer, and what is said of a folder that has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.prediction.runs import choose
from stfmri.study.compose import compose
from stfmri.study.errors import UserError
from stfmri.study.runs import Run, Sweep
from stfmri.study.sweep_file import write_sweep


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """As submitted, with two runs that have not begun."""
    config = compose(["sweep.models=[r3d_18]", "split.n=2"], sweep="demo", root=tmp_path)
    folder = tmp_path / "runs/demo"
    runs = [Run("a", "r3d_18", "scratch", fold, folder / "a" / f"fold{fold}") for fold in (0, 1)]
    write_sweep(Sweep(config, runs, "demo"))
    return folder


def test_a_folder_that_is_not_there_is_named_with_the_nearest_one(sweep: Path) -> None:
    for given in (sweep.with_name("dmo"), sweep.with_name("dmo") / "a/fold0"):
        with pytest.raises(UserError, match=r"there is no folder .*/runs/dmo; did you mean demo\?"):
            choose([given])


def test_a_sweep_in_training_says_how_many_of_its_runs_have_not_finished(sweep: Path) -> None:
    with pytest.raises(UserError, match=r"2 of 2 runs of .*demo have not finished.*status\.py"):
        choose([sweep])
