"""Which commit code is of, and whether it differs from it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from stfmri.study.git import git_state


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def test_only_a_tracked_file_that_differs_counts_as_a_change(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    code = tmp_path / "conf" / "full.yaml"
    code.parent.mkdir()
    code.write_text("a: 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "begin")
    (code.parent / "mine.yaml").write_text("b: 2\n")  # a user's own sweep, as new.py writes it
    assert git_state(tmp_path)["changed"] is False
    assert git_state(tmp_path, ["conf"])["changed"] is False
    code.write_text("a: 2\n")
    assert git_state(tmp_path)["changed"] is True
    assert git_state(tmp_path, ["other"])["changed"] is False


def test_without_a_checkout_nothing_is_said(tmp_path: Path) -> None:
    assert git_state(tmp_path) == {"commit": None, "changed": None}
