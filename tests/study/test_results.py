"""summary.json as other commands read it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stfmri.study.errors import UserError
from stfmri.study.results import SUMMARY_FILE, read_leader


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / SUMMARY_FILE)
    with pytest.raises(UserError, match="expected a regular file, found a pipe"):
        read_leader(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"leader": "../x"}'])
def test_a_damaged_one_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / SUMMARY_FILE).write_text(text)
    with pytest.raises(UserError, match=SUMMARY_FILE):
        read_leader(tmp_path)
