"""`cohort.csv`: one row a subject, as `python -m preprocessing data=table` takes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from preprocessing.dicom.contrast import CONTRASTS
from preprocessing.dicom.plan import Row, read_rows, write_rows
from preprocessing.dicom.pseudonyms import PRIVATE, Pseudonyms
from preprocessing.dicom.series import Series
from stfmri.study.errors import UserError

FILE_NAME = "cohort.csv"
LABEL = "label"
SCANS = "scans"
MAPPING = f"{PRIVATE}/mapping.csv"
FACTS = ("subject_id", "patient_id", "visit", "source", LABEL)
COVARIATES = ("age", "sex")


def scan_path(out: Path, row: Row) -> Path:
    """Where the volume of a series lies; of more images it is another file."""
    return out / SCANS / row.subject_id / f"{row.series}-{row.images}.nii.gz"


def is_converted(out: Path, row: Row) -> bool:
    """Whether the volume of these images is there, which it is only when it is whole."""
    return scan_path(out, row).is_file()


def write_cohort(
    out: Path, rows: Iterable[Row], labels: dict[str, str], covariates: bool = True
) -> list[str]:
    """Write `cohort.csv`, keeping the labels and columns that the user filled in.

    Args:
        labels: label of a subject, where one was given; it wins over the table's.
        covariates: whether age and sex go in.

    Returns:
        The subjects whose label is empty.
    """
    kept = read_cohort(out)
    subjects: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.used and is_converted(out, row):
            subjects[row.subject_id].append(row)
    paths = [
        f"path_{name}" for name in _in_order({r.contrast for s in subjects.values() for r in s})
    ]
    ours = [*FACTS, *(COVARIATES if covariates else ())]
    # Columns of contrasts that are no longer used, and covariates that are no longer wanted, go.
    theirs = [
        name
        for name in next(iter(kept.values()), {})
        if name not in (*ours, *COVARIATES) and not name.startswith("path_")
    ]
    lines, unlabelled = [], []
    for subject, series in sorted(subjects.items()):
        before = kept.get(subject, {})
        cells = {name: before.get(name, "") for name in theirs}
        first = min(series, key=lambda row: _place(row.contrast))
        cells |= {name: getattr(first, name) for name in ours if name != LABEL}
        cells[LABEL] = labels.get(subject) or before.get(LABEL, "")
        cells |= {f"path_{r.contrast}": str(scan_path(out, r).relative_to(out)) for r in series}
        lines.append([cells.get(name, "") for name in (*ours, *theirs, *paths)])
        if not cells[LABEL]:
            unlabelled.append(subject)
    write_rows(out / FILE_NAME, [*ours, *theirs, *paths], lines)
    return unlabelled


def read_cohort(out: Path) -> dict[str, dict[str, str]]:
    """The cells of `cohort.csv` by subject; empty where there is none yet."""
    path = out / FILE_NAME
    if not path.exists():
        return {}
    lines = [line for _, line in read_rows(path)]
    if lines and "subject_id" not in lines[0]:
        raise UserError(f"{path} lacks the column subject_id; delete it to have it written again")
    return {line["subject_id"]: line for line in lines}


def read_labels(path: Path, found: Sequence[Series], names: Pseudonyms) -> dict[str, str]:
    """Labels by subject, from a table with the hospital's own patient ids.

    Args:
        path: a CSV with the columns `PatientID` and `label`; others are not read.

    Raises:
        UserError: for another table, or a patient with two labels.
    """
    if not path.is_file():
        raise UserError(f"--labels: there is no file {path}")
    by_id: dict[str, str] = {}
    for number, line in read_rows(path):
        if not {"PatientID", LABEL} <= set(line):
            raise UserError(f"--labels: {path} must have the columns PatientID and {LABEL}")
        if by_id.setdefault(line["PatientID"], line[LABEL]) != line[LABEL]:
            raise UserError(f"--labels: line {number} of {path} gives a patient a second label")
    firsts = [series.first for series in found]
    labels = {names.subject(first): by_id.get(first.patient, "") for first in firsts}
    if by_id and not any(labels.values()):
        raise UserError(
            f"--labels: none of the {len(by_id)} ids of {path} is the PatientID of an image; check "
            "leading zeros, which spreadsheets drop"
        )
    return labels


def write_mapping(out: Path, found: Sequence[Series], names: Pseudonyms) -> Path:
    """Write who is who, for the user's eyes: the one file that holds patient ids and dates."""
    path = out / MAPPING
    columns = ("subject_id", "patient_id", "PatientID", "StudyDate")
    known = [tuple(line.values()) for _, line in read_rows(path)] if path.exists() else []
    new = [
        (names.subject(first), names.patient(first), first.patient, first.date)
        for first in (series.first for series in found)
    ]
    write_rows(path, columns, sorted({*known, *new}))
    return path


def _in_order(contrasts: Iterable[str]) -> list[str]:
    return sorted(contrasts, key=_place)


def _place(contrast: str) -> tuple[int, str]:
    """The usual contrasts first, then the user's own by name."""
    known = CONTRASTS.index(contrast) if contrast in CONTRASTS else len(CONTRASTS)
    return known, contrast
