"""SynthStrip, the user's own command of FreeSurfer 7.3 and later: any contrast, any slices.

A. Hoopes et al., SynthStrip: skull-stripping for any brain image, NeuroImage 260:119474 (2022).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from preprocessing.extraction.command import extract_by
from preprocessing.extraction.record import Extractor
from preprocessing.masks import Mask
from preprocessing.nifti import Image

COMMAND = "mri_synthstrip"


def _available() -> str:
    if shutil.which(COMMAND):
        return ""
    return f"needs {COMMAND} of FreeSurfer 7.3 or later on the PATH: load its module"


def _recipe() -> str:
    # Its only network came with its first release.
    return "synthstrip 1"


def _arguments(head: Path, folder: Path) -> Sequence[str]:
    return [COMMAND, "-i", str(head), "-m", str(folder / "mask.nii.gz")]


def _extract(image: Image) -> Mask:
    return extract_by(_arguments, "mask.nii.gz", image)


SYNTHSTRIP = Extractor(
    name="synthstrip",
    label="SynthStrip",
    available=_available,
    recipe=_recipe,
    extract=_extract,
)
