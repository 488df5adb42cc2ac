"""What all years of BraTS share: case folders, four stripped contrasts in one space, two grades."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from preprocessing.cohorts.contrasts import canonical, channels, pick
from preprocessing.cohorts.folders import nifti_files
from preprocessing.cohorts.scan import Scan, path_columns
from stfmri.study.config.data import DataConfig

CONTRASTS = ("t1", "t1ce", "t2", "flair")
DEFAULT = "t1ce"
GRADES = ("LGG", "HGG")
# BraTS19_<centre>_<patient>_<n>, where the centre holds no underscore; Brats17 and Brats18 before.
CASE = re.compile(r"(?P<patient>BraTS\d*_(?P<centre>[^_]+)_.+)_\d+", re.IGNORECASE)
UNKNOWN_SOURCE = "BraTS-unknown"


def brats_channels(data: DataConfig) -> dict[str, str]:
    """Which contrast each channel takes of BraTS; T1ce where none is named."""
    return channels(data, CONTRASTS, DEFAULT, "BraTS")


def case_scan(
    folder: Path, name: str, wanted: Mapping[str, str], grade: str, label: str, fault: str = ""
) -> Scan:
    """The scans of one case folder, `<case>/<case>_<contrast>.nii(.gz)`.

    Args:
        name: the case's name of 2017 to 2019, which gives centre and patient; empty for none.
        wanted: channel → contrast.
        grade: the class.
        label: the column of the class.
        fault: why the case cannot be used, whatever its files.
    """
    files = defaultdict(list)
    for stem, path in nifti_files(folder).items():
        if stem.startswith(folder.name):
            files[canonical(stem[len(folder.name) :].lstrip("_-"))].append(path)
    paths, missing = pick(files, wanted, folder)
    known = CASE.fullmatch(name)
    return Scan(
        subject_id=folder.name,
        patient_id=known["patient"] if known else folder.name,
        source=f"BraTS-{known['centre']}" if known else UNKNOWN_SOURCE,
        label=grade,
        paths=paths,
        stripped=True,
        columns={label: grade, **path_columns(paths)},
        fault=fault or missing,
    )
