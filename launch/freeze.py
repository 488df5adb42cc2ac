"""The code as submitted: waiting jobs read a copy that no edit reaches."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from stfmri.study.files import private_dir
from stfmri.study.git import git_state

ROOMS = ("launch", "stfmri", "preprocessing", "slurm", "conf")
HASH_DIGITS = 12
GIT_FILE = "git.json"  # the commit that the copy was made of, for each run's provenance


def freeze_code(sweep_folder: Path) -> Path:
    """Copy the rooms to `<sweep_folder>/code-<hash of their contents>`; kept if it is there.

    The caller holds the folder's lock.

    Returns:
        The copy, which is to be the jobs' working directory: the folder that Python starts in
        comes first on its path.
    """
    checkout = Path(__file__).resolve().parent.parent
    files = sorted(
        path.relative_to(checkout)
        for room in ROOMS
        for path in (checkout / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    )
    contents = {path: (checkout / path).read_bytes() for path in files}
    digest = hashlib.sha256()
    for path, content in contents.items():
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    target = sweep_folder / f"code-{digest.hexdigest()[:HASH_DIGITS]}"
    if target.is_dir():
        return target

    private_dir(sweep_folder)
    for leftover in sweep_folder.glob(".code-*"):  # of a submission that was killed here
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=".code-", dir=sweep_folder))  # 0700
    try:
        for path, content in contents.items():
            private_dir(temporary / path.parent)
            (temporary / path).write_bytes(content)
        state = json.dumps(git_state(checkout, ROOMS))
        (temporary / GIT_FILE).write_text(state + "\n", encoding="utf-8")
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target
