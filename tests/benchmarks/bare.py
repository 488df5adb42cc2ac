"""A machine that has the libraries of a GPU image and none of the project's others."""

from __future__ import annotations

import os
import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
# With what they need themselves, among it PyYAML.
LIBRARIES = ("torch", "torchvision", "accelerate", "h5py", "numpy")


def bare_environment(folder: Path, names: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    """Variables with which `python -S` finds the project, some libraries and what they need.

    Args:
        folder: empty; it gets a link to each package.
    """
    for name in needed(names):
        for file in metadata.files(name) or ():
            top = file.parts[0]
            link = folder / top
            if top not in ("..", "__pycache__") and not link.exists():
                link.symlink_to(Path(str(metadata.distribution(name).locate_file(top))))
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def needed(names: tuple[str, ...]) -> set[str]:
    """These distributions and all that they require, extras apart."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        for line in metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found
