"""What is kept of every volume for its page: numbers, a picture, and voxels for the viewer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from preprocessing.chain import Processed
from preprocessing.qc.picture import picture
from preprocessing.qc.viewer import views_script
from stfmri.study.files import NotRegularFileError, open_regular, read_text, renaming

# What a whole file ends with: a picture's last chunk, and the last line of a script.
ENDS = {".png": b"IEND\xaeB`\x82", ".js": b");\n"}


def keep(cache: Path, key: str, made: Processed, numbers: dict[str, Any]) -> None:
    """Keep a volume's numbers, picture and views; the numbers come last and stand for all.

    Nothing waits for the disk, which would take as long as all the rest: what a loss of power cut
    off is noticed by its end, and made again.
    """
    contents = {
        picture_file(cache, key): picture(made),
        views_file(cache, key): views_script(key, made),
        measures_file(cache, key): json.dumps(numbers).encode(),
    }
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
    """The numbers that `keep` wrote; None where there are none, or one of its files is damaged.

    A picture that is gone was taken away by somebody, and is not missed here.
    """
    try:
        numbers = json.loads(read_text(measures_file(cache, key)))
    except (FileNotFoundError, NotRegularFileError, ValueError, RecursionError):
        return None
    if not isinstance(numbers, dict) or "sha256" not in numbers:
        return None
    files = (picture_file(cache, key), views_file(cache, key))
    return None if any(_is_cut_off(file) for file in files) else numbers


def _is_cut_off(path: Path) -> bool:
    end = ENDS[path.suffix]
    try:
        with open_regular(path) as file:
            file.seek(-len(end), os.SEEK_END)
            return file.read() != end
    except FileNotFoundError:
        return False
    except (NotRegularFileError, OSError):  # shorter than its end is
        return True
