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
# Within stfmri neither of the two upper floors knows the other.
FLOORS = {
    "stfmri/study": {"stfmri.learning", "stfmri.evidence"},
    "stfmri/learning": {"stfmri.evidence"},
    "stfmri/evidence": {"stfmri.learning"},
}
# Libraries that a room must do without, and the files that may have them.
FORBIDDEN = {
    "stfmri": {
        "hydra": ("stfmri/study/compose.py",),
        "omegaconf": ("stfmri/study/compose.py", "stfmri/study/layers.py"),
        "torchio": ("stfmri/learning/torchio_augment.py",),
        "nibabel": (),
        "submitit": (),
    },
    "stfmri/study": {"torch": (), "torchvision": (), "accelerate": ()},
    "stfmri/evidence": {"torch": (), "torchvision": (), "accelerate": ()},
}
STARTS_WITHOUT_TORCH = [
    ["-c", "import launch.submit"],
    ["-c", "import launch.status"],
    ["-c", "import stfmri.collect"],
    ["-c", "import launch.job"],
    ["launch/submit.py", "--help"],
    ["launch/status.py", "--help"],
    ["launch/new.py", "--help"],
    ["launch/preprocess.py", "--help"],
    ["launch/predict.py", "--help"],
    ["launch/doctor.py", "--help"],
    ["-m", "preprocessing", "--help"],
    ["-m", "preprocessing.phantom", "--help"],
    ["-m", "preprocessing.dicom", "--help"],
    ["-m", "stfmri.collect", "--help"],
    ["-m", "stfmri.baselines", "--help"],
    ["-m", "stfmri.train", "--help"],
    ["-m", "stfmri.pretrain", "--help"],
    ["-m", "stfmri.check", "--help"],
    ["-m", "stfmri.evidence", "--help"],
    ["-m", "slurm.devcluster", "--help"],
]


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def modules_of(path: Path) -> Iterator[str]:
    """Imported modules, with the names that are imported from each: those may be modules too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = [path.relative_to(ROOT) for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_rooms_import_one_way(path: Path) -> None:
    rooms = {name.split(".")[0] for name in imports_of(ROOT / path)} & set(ROOMS)
    assert rooms <= MAY_IMPORT[path.parts[0]]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_floors_of_stfmri_import_one_way(path: Path) -> None:
    for floor, above in FLOORS.items():
        if path.is_relative_to(floor):
            found = {".".join(name.split(".")[:2]) for name in modules_of(ROOT / path)}
            assert not found & above


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_room_does_without_the_libraries_of_another(path: Path) -> None:
    libraries = {name.split(".")[0] for name in imports_of(ROOT / path)}
    for room, forbidden in FORBIDDEN.items():
        if path.is_relative_to(room):
            found = {
                name for name in libraries & set(forbidden) if str(path) not in forbidden[name]
            }
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
