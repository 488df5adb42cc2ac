"""FSL's BET2, as the paper has it; the user's own installation.

S. M. Smith, Fast robust automated brain extraction, Hum Brain Mapp 17:143 (2002).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from preprocessing.extraction.command import extract_by
from preprocessing.extraction.record import Extractor
from preprocessing.masks import Mask
from preprocessing.nifti import Image, ScanError

# By preference: write a mask, no stripped image; -R re-centres against the neck, which is the
# script's doing and unknown to bet2 itself.
CALLS = {"bet": ("-m", "-n", "-R"), "bet2": ("-m", "-n")}


def _available() -> str:
    if any(shutil.which(name) for name in CALLS):
        return ""
    return "needs FSL's bet or bet2 on the PATH: load its module"


def _recipe() -> str:
    return f"fsl {CALLS}"


def _extract(image: Image) -> Mask:
    found = [(name, *flags) for name, flags in CALLS.items() if shutil.which(name)]
    if not found:
        raise ScanError(_available())
    command, *flags = found[0]

    def arguments(head: Path, folder: Path) -> Sequence[str]:
        return [command, str(head), str(folder / "brain"), *flags]

    return extract_by(arguments, "brain_mask.nii.gz", image, {"FSLOUTPUTTYPE": "NIFTI_GZ"})


FSL = Extractor(
    name="fsl",
    label="FSL's BET",
    available=_available,
    recipe=_recipe,
    extract=_extract,
)
