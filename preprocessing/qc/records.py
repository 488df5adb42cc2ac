"""What is kept of every volume for its page: numbers, a picture, and voxels for the viewer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from preprocessing.chain import Processed
from preprocessing.qc.picture import picture
from preprocessing.qc.viewer import write_views
from stfmri.study.files import NotRegularFileError, read_text, replacing, write_atomic


def keep(cache: Path, key: str, made: Processed, numbers: dict[str, Any]) -> None:
    """Keep a volume's numbers, picture and views; the numbers come last and stand for all."""
    with replacing(picture_file(cache, key)) as temporary:
        temporary.write_bytes(picture(made))
    write_views(views_file(cache, key), key, made)
    write_atomic(measures_file(cache, key), json.dumps(numbers))


def measures_file(cache: Path, key: str) -> Path:
    """Where a volume's numbers are; there only with its picture and its views."""
    return cache / "qc" / f"{key}.json"


def picture_file(cache: Path, key: str) -> Path:
    """Where a volume's picture is."""
    return cache / "qc" / f"{key}.png"


def views_file(cache: Path, key: str) -> Path:
    """Where the viewer finds a volume's voxels."""
    return cache / "qc" / f"{key}.js"


def read_measures(cache: Path, key: str) -> dict[str, Any] | None:
    """The numbers that `keep` wrote; None where there are none, or they are damaged."""
    try:
        numbers = json.loads(read_text(measures_file(cache, key)))
    except (FileNotFoundError, NotRegularFileError, ValueError, RecursionError):
        return None
    return numbers if isinstance(numbers, dict) and "sha256" in numbers else None
