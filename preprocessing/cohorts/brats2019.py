"""BraTS 2017 to 2019, training data: `<folder>/{HGG,LGG}/<case>/<case>_t1ce.nii(.gz)` …"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from preprocessing.cohorts.brats_cases import GRADES, brats_channels, case_scan
from preprocessing.cohorts.folders import subfolders
from preprocessing.cohorts.labels import wanted_classes, with_table
from preprocessing.cohorts.layout import Key, Layout
from preprocessing.cohorts.scan import Scan
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import UserError

FOLDER = Key("folder", "DIR", "the folder that holds HGG and LGG")


def find(data: DataConfig) -> list[Scan]:
    """Scans of the cases, the folder's name as the grade."""
    wanted = wanted_classes(data, GRADES, "BraTS")
    scans = read_cases(FOLDER.folder(data), FOLDER, brats_channels(data), data.label)
    return with_table([scan for scan in scans if scan.label in wanted], data)


def read_cases(folder: Path, key: Key, wanted: Mapping[str, str], label: str) -> list[Scan]:
    """Every case below HGG and LGG.

    Args:
        key: what names the folder, for messages.
        wanted: channel → contrast.
        label: the column of the class.

    Raises:
        UserError: where a grade has no folder, or neither has a case.
    """
    scans = []
    for grade in GRADES:
        if not (folder / grade).is_dir():
            raise UserError(
                f"data.{key.name} must be the folder that holds HGG and LGG "
                f"(MICCAI_BraTS_2019_Data_Training); there is no folder {folder / grade}"
            )
        scans += [
            case_scan(case, case.name, wanted, grade, label) for case in subfolders(folder / grade)
        ]
    if not scans:
        raise UserError(f"data.{key.name}={folder}: HGG and LGG hold no case folders")
    return scans


LAYOUT = Layout("brats2019", "BraTS 2017 to 2019: {HGG,LGG}/<case>", (FOLDER,), find)
