"""BraTS 2021 and later, `<folder>/<case>/<case>_t1ce.nii(.gz)` or `…-t1c.nii(.gz)`: no grade.

The names of 2023 (`BraTS-GLI-00000-000`) end in the number of the visit, so that patients are
known; those of 2021 (`BraTS2021_00000`) are one patient each. Neither gives the centre.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from preprocessing.cohorts.brats_cases import brats_channels, case_scan
from preprocessing.cohorts.folders import subfolders
from preprocessing.cohorts.labels import TABLE, with_table
from preprocessing.cohorts.layout import Key, Layout
from preprocessing.cohorts.scan import Scan
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import UserError

FOLDER = Key("folder", "DIR", "the folder that holds the cases")
VISIT = re.compile(r"(?P<patient>(?P<challenge>BraTS-[A-Z]+)-\d+)-\d+")
YEAR = re.compile(r"(?P<challenge>BraTS\d+)_\d+")


def find(data: DataConfig) -> list[Scan]:
    """Scans of the cases, their classes from `data.table`."""
    folder, _ = FOLDER.folder(data), TABLE.path(data)
    wanted = brats_channels(data)
    scans = [
        _named(case_scan(case, "", wanted, "", data.label), case) for case in subfolders(folder)
    ]
    if not scans:
        raise UserError(f"data.folder={folder} holds no case folders")
    return with_table(scans, data)


def _named(scan: Scan, case: Path) -> Scan:
    """The scan with the patient and the challenge that its name tells."""
    visit, year = VISIT.fullmatch(case.name), YEAR.fullmatch(case.name)
    if visit:
        return replace(scan, patient_id=visit["patient"], source=visit["challenge"])
    return replace(scan, source=year["challenge"]) if year else scan


LAYOUT = Layout(
    "brats2021", "BraTS 2021 and later: <case> folders; labels from a table", (FOLDER, TABLE), find
)
