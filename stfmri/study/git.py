"""Which commit a folder of code is of."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TIMEOUT_S = 20
CODE = Path(__file__).resolve().parents[2]


def code_state() -> dict[str, Any]:
    """The commit this code is of, from `git.json` in a frozen copy, else from git itself."""
    frozen = CODE / "git.json"
    if frozen.is_file():
        return json.loads(frozen.read_text(encoding="utf-8"))
    return git_state(CODE)


def git_state(folder: Path, parts: Sequence[str] = ()) -> dict[str, Any]:
    """`{"commit": …, "changed": bool}`; both null where `folder` is no git checkout.

    Changed means that a file which git tracks differs from the commit. A file that it does not
    track, such as a user's own conf/sweep/mine.yaml, changes no run but those that name it, whose
    sweep.yaml holds what it says.

    Args:
        parts: folders below it whose changes count; none means all.
    """

    def git(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    changes = git("status", "--porcelain", "--untracked-files=no", "--", *(parts or (".",)))
    return {
        "commit": git("rev-parse", "HEAD"),
        "changed": None if changes is None else changes != "",
    }
