"""Cohorts laid out as their data sets are, with empty files: finders open no scan."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

BRATS = ("t1", "t1ce", "t2", "flair")
MAPPING_HEADER = (
    "Grade,BraTS_2017_subject_ID,BraTS_2018_subject_ID,TCGA_TCIA_subject_ID,"
    "BraTS_2019_subject_ID,BraTS_2020_subject_ID"
)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def case(folder: Path, name: str, endings: Iterable[str] = BRATS, mark: str = "_") -> Path:
    """A case folder of BraTS with a file for each ending, and the segmentation."""
    for ending in (*endings, "seg"):
        touch(folder / name / f"{name}{mark}{ending}.nii.gz")
    (folder / name).mkdir(parents=True, exist_ok=True)
    return folder / name


def brats2019(folder: Path, **cases: list[str]) -> Path:
    """HGG and LGG with these cases."""
    for grade in ("HGG", "LGG"):
        (folder / grade).mkdir(parents=True)
        for name in cases.get(grade, []):
            case(folder / grade, name)
    return folder


def brats2020(folder: Path, **rows: tuple[str, str]) -> Path:
    """Flat cases `BraTS20_Training_<key>` with (grade, name in 2019) in name_mapping.csv."""
    lines = [MAPPING_HEADER]
    for number, (grade, earlier) in rows.items():
        name = case(folder, f"BraTS20_Training_{number.strip('_')}").name
        lines.append(f"{grade},NA,NA,NA,{earlier},{name}")
    (folder / "name_mapping.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def ixi(folder: Path, *names: str) -> Path:
    """IXI files in one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    touch(*(folder / name for name in names))
    return folder


def bids(folder: Path, *names: str, participants: str | None = None) -> Path:
    """BIDS files by their names, each in the anat folder of its subject and session."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        entities = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
        touch(folder.joinpath(*entities, "anat", name))
    if participants is not None:
        (folder / "participants.tsv").write_text(participants, encoding="utf-8")
    return folder


def write(path: Path, text: str) -> str:
    """Write a table, return its path as the configuration has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)
