"""What is kept of every volume for its page: numbers, a picture, and voxels for the viewer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from preprocessing.chain import Processed
from preprocessing.qc.picture import picture
from preprocessing.qc.viewer import views_script
from stfmri.study.files import NotRegularFileError, read_text, renaming

SIZES = "sizes"  # of the picture and the views, in bytes, among the numbers


def keep(cache: Path, key: str, made: Processed, numbers: dict[str, Any]) -> None:
    """Keep a volume's numbers, picture and views; the numbers come last and stand for all.

    Nothing waits for the disk, which would take as long as all the rest: the numbers name the sizes
    of the other files, so what a loss of power left behind is noticed and made again.
    """
    contents = {
        picture_file(cache, key): picture(made),
        views_file(cache, key): views_script(key, made),
    }
    sizes = {path.suffix: len(content) for path, content in contents.items()}
    contents[measures_file(cache, key)] = json.dumps({**numbers, SIZES: sizes}).encode()
    for path, content in contents.items():
        with renaming(path) as temporary:
            temporary.write_bytes(content)


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
    """The numbers that `keep` wrote; None where one of its files is missing or damaged."""
    try:
        numbers = json.loads(read_text(measures_file(cache, key)))
        sizes = numbers.pop(SIZES)
        for path in (picture_file(cache, key), views_file(cache, key)):
            if path.stat().st_size != sizes[path.suffix]:
                return None
    except (FileNotFoundError, NotRegularFileError, ValueError, RecursionError):
        return None
    except (AttributeError, KeyError, TypeError):  # JSON, but not what `keep` wrote
        return None
    return numbers if "sha256" in numbers else None
