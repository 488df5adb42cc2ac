"""HD-BET 2, the user's own command: its network is another than that of HD-BET 1.

F. Isensee et al., Automated brain extraction of multisequence MRI using artificial neural networks,
Hum Brain Mapp 40:4952 (2019).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from preprocessing.extraction.command import extract_by
from preprocessing.extraction.orientation import as_stored, canonical
from preprocessing.extraction.record import Extractor
from preprocessing.masks import Mask
from preprocessing.nifti import Image

COMMAND = "hd-bet"


def _available() -> str:
    if shutil.which(COMMAND):
        return ""
    return f"needs {COMMAND} (HD-BET 2) on the PATH: pip install hd-bet, and run it once online"


def _recipe() -> str:
    return "hd-bet 2.0.0, not mirrored"


def _arguments(head: Path, folder: Path) -> Sequence[str]:
    # Mirroring the head along each axis would take eight times as long.
    flags = ("-device", "cpu", "--disable_tta", "--save_bet_mask", "--no_bet_image")
    return [COMMAND, "-i", str(head), "-o", str(folder / "brain.nii.gz"), *flags]


def _extract(image: Image) -> Mask:
    # It expects heads as the MNI template lies.
    head = canonical(image)
    upright = Image(np.asanyarray(head.dataobj), head.affine)
    return as_stored(extract_by(_arguments, "brain_bet.nii.gz", upright), image)


HDBET2 = Extractor(
    name="hdbet2",
    label="HD-BET 2",
    available=_available,
    recipe=_recipe,
    extract=_extract,
)
