"""Processes of the study's benchmark, with epochs that take no time."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import study
from cohort import config_for

from stfmri.study.config import Config
from stfmri.study.overrides import replaced


def named(config: Config, device: Any, side_by_side: int) -> study.Epoch:
    """A run whose configuration says how it goes, in the place of the data's name."""

    def epoch() -> None:
        if config.data.name == "raises":
            raise ValueError("no such volume")
        if config.data.name == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.5)

    return epoch


def configs(root: Path, *names: str) -> list[Config]:
    return [replaced(config_for(root), {"data.name": name}) for name in names]


def test_epochs_of_a_turn_overlap_and_turns_follow_each_other(tmp_path: Path) -> None:
    four = configs(tmp_path, *"abcd")
    assert 1 <= study.together(named, four, 2, "cpu") < 2


@pytest.mark.parametrize(
    ("failure", "message"), [("raises", "no such volume"), ("killed", "exit status -9")]
)
def test_a_failed_process_ends_the_others_at_once_and_is_heard(
    failure: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=message):
        study.together(named, configs(tmp_path, "good", failure), 2, "cpu")
    assert time.monotonic() - started < study.WAIT_S / 5


def test_marks_are_for_six_at_a_time_and_not_judged_without_a_peer() -> None:
    measured = {148: {"one by one": [10.0], "6 at a time": [2.0], "usual": [20.0]}}
    met = [row.met for row in study.rows_of(measured)[0]]
    assert met == [None, True]
    assert [row.met for row in study.rows_of(measured, judged=False)[0]] == [None, None]
