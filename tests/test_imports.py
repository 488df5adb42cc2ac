"""Rooms import one way, and what should start at once imports no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("launch", "preprocessing", "slurm", "stfmri")
MAY_IMPORT = {
    "launch": {"launch", "preprocessing", "slurm", "stfmri"},
    "preprocessing": {"preprocessing", "stfmri"},
    "slurm": {"slurm"},
    "stfmri": {"stfmri"},
}
# Libraries that a room must do without, and the one file that may have them.
FORBIDDEN = {
    "stfmri": {
        "hydra": "stfmri/compose.py",
        "omegaconf": "stfmri/compose.py",
        "torchio": "stfmri/heavy.py",
        "nibabel": None,
        "submitit": None,
    },
    "stfmri/evidence": {"torch": None, "torchvision": None, "accelerate": None},
}
STARTS_WITHOUT_TORCH = [
    ["-c", "import launch.submit"],
    ["-c", "import launch.status"],
    ["-c", "import stfmri.collect"],
    ["-c", "import launch.job"],
    ["launch/submit.py", "--help"],
    ["launch/status.py", "--help"],
    ["launch/preprocess.py", "--help"],
    ["launch/predict.py", "--help"],
    ["launch/doctor.py", "--help"],
    ["-m", "preprocessing", "--help"],
    ["-m", "preprocessing.phantom", "--help"],
    ["-m", "stfmri.collect", "--help"],
    ["-m", "stfmri.train", "--help"],
    ["-m", "slurm.devcluster", "--help"],
]


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


FILES = [path.relative_to(ROOT) for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_rooms_import_one_way(path: Path) -> None:
    rooms = {name.split(".")[0] for name in imports_of(ROOT / path)} & set(ROOMS)
    assert rooms <= MAY_IMPORT[path.parts[0]]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_room_does_without_the_libraries_of_another(path: Path) -> None:
    libraries = {name.split(".")[0] for name in imports_of(ROOT / path)}
    for room, forbidden in FORBIDDEN.items():
        if path.is_relative_to(room):
            found = {name for name in libraries & set(forbidden) if str(path) != forbidden[name]}
            assert found == set()


@pytest.mark.parametrize("command", STARTS_WITHOUT_TORCH, ids=" ".join)
def test_it_starts_without_torch(command: list[str], tmp_path: Path) -> None:
    # A package of that name, first on the path, that refuses to be imported.
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if "--help" in command:
        assert "usage:" in done.stdout
