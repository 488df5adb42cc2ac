"""NIfTI scans of BraTS's size, 240 × 240 × 155 at 1 mm, skull-stripped, and their brain masks.

Real ones where STFMRI_TEST_DATA names a folder with `glioma/*_stripped_*.nii.gz`, seeded random
ones otherwise.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
from cohort import volume

from preprocessing.brain import stripped_brain
from preprocessing.nifti import parse, read_bytes

SHAPE = (240, 240, 155)  # right, anterior, superior
TOY_SHAPE = (60, 60, 40)
COUNT = 3
# BraTS's own: left, posterior, superior.
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])


def find_scans(folder: Path, *, toy: bool = False) -> tuple[list[Path], str]:
    """Scans of the study's size, and a phrase that says which they are.

    Args:
        folder: random scans are written there.
    """
    given = os.environ.get("STFMRI_TEST_DATA")
    real = sorted(Path(given, "glioma").glob("*_stripped_*.nii.gz")) if given and not toy else []
    if real:
        return real, f"{len(real)} real gliomas"
    return [_random_scan(folder, number, toy) for number in range(COUNT)], "random scans"


def _random_scan(folder: Path, number: int, toy: bool) -> Path:
    shape = TOY_SHAPE if toy else SHAPE
    values_DHW = volume(number, shape[::-1])[0]
    affine = AFFINE * np.array([4, 4, 4, 1])[:, None] if toy else AFFINE
    scan = nib.Nifti1Image((values_DHW.T * 1000).astype(np.int16), affine)
    path = folder / f"scan{number}.nii.gz"
    path.write_bytes(gzip.compress(scan.to_bytes(), 1, mtime=0))
    return path


def write_mask(scan: Path, folder: Path) -> Path:
    """The scan's brain, as float32: TorchIO interpolates whole numbers with too few levels."""
    image = parse(read_bytes(scan))
    brain = stripped_brain(image)
    path = folder / f"{scan.name.removesuffix('.nii.gz')}_mask.nii.gz"
    nib.save(nib.Nifti1Image(brain.astype(np.float32), image.affine), path)
    return path
