"""UPENN-GBM, NIfTI files: `images_structural/UPENN-GBM-<id>_<visit>/…_{T1,T1GD,T2,FLAIR}.nii.gz`.

Visit 11 is before the operation, 21 at a recurrence. `images_structural_unstripped` holds the same
heads with skull, the names ending in `_unstripped`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from preprocessing.cohorts.brats_cases import CONTRASTS, DEFAULT
from preprocessing.cohorts.contrasts import canonical, channels, pick
from preprocessing.cohorts.folders import nifti_files, subfolders
from preprocessing.cohorts.labels import TABLE, with_table
from preprocessing.cohorts.layout import Key, Layout
from preprocessing.cohorts.scan import Scan, path_columns
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import UserError

FOLDER = Key("folder", "DIR", "the folder images_structural of UPENN-GBM, or the one that holds it")
STRUCTURAL = "images_structural"
FILE = re.compile(
    r"(?P<subject>(?P<patient>UPENN-GBM-\d+)_\d+)_(?P<contrast>T1|T1GD|T2|FLAIR)"
    r"(?P<head>_unstripped)?"
)
SOURCE = "UPENN"


def find(data: DataConfig) -> list[Scan]:
    """Scans of each visit, their classes from `data.table`."""
    folder, _ = FOLDER.folder(data), TABLE.path(data)
    if (folder / STRUCTURAL).is_dir():
        folder = folder / STRUCTURAL
    wanted = channels(data, CONTRASTS, DEFAULT, "UPENN-GBM")
    named = [
        (name, path)
        for place in (folder, *subfolders(folder))
        for stem, path in nifti_files(place).items()
        if (name := FILE.fullmatch(stem))
    ]
    if not named:
        raise UserError(
            f"data.folder must be {FOLDER.what}; {folder} holds no files "
            "UPENN-GBM-<id>_<visit>_T1.nii.gz and so on"
        )
    visits = defaultdict(list)
    for name, path in named:
        visits[name["subject"]].append((name, path))
    scans = [_scan(subject, visits[subject], wanted, folder) for subject in sorted(visits)]
    return with_table(scans, data)


def _scan(
    subject: str,
    named: Sequence[tuple[re.Match[str], Path]],
    wanted: Mapping[str, str],
    folder: Path,
) -> Scan:
    files = defaultdict(list)
    for name, path in named:
        files[canonical(name["contrast"])].append(path)
    paths, fault = pick(files, wanted, folder)
    return Scan(
        subject_id=subject,
        patient_id=named[0][0]["patient"],
        source=SOURCE,
        label="",
        paths=paths,
        stripped=not any(name["head"] for name, _ in named),
        columns=path_columns(paths),
        fault=fault,
    )


LAYOUT = Layout(
    "upenn", "UPENN-GBM: images_structural/<case>; labels from a table", (FOLDER, TABLE), find
)
