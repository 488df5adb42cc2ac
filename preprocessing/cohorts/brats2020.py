"""BraTS 2020, training data: `<folder>/<case>/<case>_t1ce.nii(.gz)` … and `name_mapping.csv`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from preprocessing.cohorts.brats_cases import GRADES, brats_channels, case_scan
from preprocessing.cohorts.folders import subfolders
from preprocessing.cohorts.labels import is_unknown, wanted_classes, with_table
from preprocessing.cohorts.layout import Key, Layout
from preprocessing.cohorts.scan import Scan
from preprocessing.cohorts.sheet import read_sheet
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import UserError

FOLDER = Key("folder", "DIR", "the folder that holds the cases and name_mapping.csv")
MAPPING = "name_mapping.csv"
CASE_COLUMN, GRADE_COLUMN = "BraTS_2020_subject_ID", "Grade"
# Names of the case in earlier years, which give its centre; the newest that it has counts.
EARLIER_COLUMNS = ("BraTS_2019_subject_ID", "BraTS_2018_subject_ID", "BraTS_2017_subject_ID")


def is_layout_of(folder: Path) -> bool:
    """Whether cases lie flat in `folder`; that of 2019 has such a file, too, beside its grades."""
    return (folder / MAPPING).is_file() and not any((folder / grade).is_dir() for grade in GRADES)


def find(data: DataConfig) -> list[Scan]:
    """Scans of the cases, graded by `name_mapping.csv`; a case without a grade has a fault."""
    wanted = wanted_classes(data, GRADES, "BraTS")
    scans = read_cases(FOLDER.folder(data), FOLDER, brats_channels(data), data.label)
    return with_table([scan for scan in scans if scan.label in (*wanted, "")], data)


def read_cases(folder: Path, key: Key, wanted: Mapping[str, str], label: str) -> list[Scan]:
    """Every case folder, those of low grade first.

    Args:
        key: what names the folder, for messages.
        wanted: channel → contrast.
        label: the column of the class.

    Raises:
        UserError: where name_mapping.csv is missing or lacks a column, or there is no case.
    """
    rows = _mapping(folder, key)
    scans = []
    for case in subfolders(folder):
        row = rows.get(case.name)
        if row is None:
            fault = f"not listed in {MAPPING}"
            scans.append(case_scan(case, "", wanted, "", label, fault))
            continue
        grade = row[GRADE_COLUMN].upper()
        fault = "" if grade in GRADES else f"{MAPPING} gives no grade ({grade or 'empty'})"
        earlier = [row[name] for name in EARLIER_COLUMNS if not is_unknown(row.get(name, ""))]
        scans.append(
            case_scan(case, next(iter(earlier), ""), wanted, "" if fault else grade, label, fault)
        )
    if not scans:
        raise UserError(f"data.{key.name}={folder} holds no case folders")
    order = (*GRADES, "")
    return sorted(scans, key=lambda scan: order.index(scan.label))


def _mapping(folder: Path, key: Key) -> dict[str, dict[str, str]]:
    sheet = read_sheet(folder / MAPPING, f"data.{key.name}")
    sheet.require([GRADE_COLUMN, CASE_COLUMN], "take the file that comes with BraTS 2020")
    return {row.cells[CASE_COLUMN]: row.cells for row in sheet.rows}


LAYOUT = Layout("brats2020", "BraTS 2020: <case> folders and name_mapping.csv", (FOLDER,), find)
