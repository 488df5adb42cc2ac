"""summary.json as other commands read it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stfmri.evidence.summary_json import FILE_NAME, read_leader
from stfmri.study.errors import UserError


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE_NAME)
    with pytest.raises(UserError, match="expected a regular file, found a pipe"):
        read_leader(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"leader": "../x"}'])
def test_a_damaged_one_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(UserError, match=FILE_NAME):
        read_leader(tmp_path)
