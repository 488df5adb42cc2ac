"""Find the scans of a cohort: BraTS and IXI as distributed, a CSV table, or phantoms.

Every finder returns the same thing, a list of `Scan`; nothing after this file knows where a cohort
came from. A new dataset is one more finder here and one more YAML file in `conf/data/`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stfmri.study.config import DataConfig
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.files import absolute, safe_name
from stfmri.study.shards import INDEX_COLUMNS

BRATS_CLASSES = ("LGG", "HGG")
HEALTHY = "Healthy"
# BraTS19_<centre>_<patient>_<n>, where the centre holds no underscore.
BRATS_CASE = re.compile(r"(?P<patient>BraTS\d*_(?P<centre>[^_]+)_.+)_\d+")
# IXI<id>-<site>-<no>-T1
IXI_SCAN = re.compile(r"(?P<subject>(?P<patient>IXI[^-]*)-(?P<site>[^-]+)-.+)-T1")
NIFTI_SUFFIXES = (".nii.gz", ".nii")
# Line breaks and other controls, and the bytes of a file name that are no UTF-8: none of them can
# stand in a line of CSV that every program reads alike.
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


# The one channel of a cohort that names no contrasts.
SCAN = "scan"


@dataclass(frozen=True)
class Scan:
    """The scans of one subject, not yet read: one file for each contrast.

    Attributes:
        subject_id: unique in the cohort; never part of a path.
        patient_id: scans of one patient never stand on both sides of a split.
        source: where the scan was made, the unit of the shortcut probes.
        label: the class.
        paths: contrast → file, in the order of the channels; a contrast that the subject lacks is
            absent.
        mask: a brain mask on the first file's grid (`> 0`), used as it is; None asks for none.
        stripped: whether everything but the brain is already background.
        columns: every column of the cohort table by its own name, the label's included.
        fault: why the subject cannot be used, known before any file is read; empty for none.
    """

    subject_id: str
    patient_id: str
    source: str
    label: str
    paths: dict[str, Path]
    mask: Path | None = None
    stripped: bool = False
    columns: dict[str, str] = field(default_factory=dict)
    fault: str = ""

    @property
    def path(self) -> Path:
        """The first contrast's file, which stands for the subject in messages."""
        return next(iter(self.paths.values()), Path())


def wanted_contrasts(data: DataConfig) -> tuple[str, ...]:
    """The names of a volume's channels, in order."""
    return data.contrasts or (SCAN,)


def find_scans(data: DataConfig) -> list[Scan]:
    """List the cohort's scans, in a fixed order; no scan is opened.

    Raises:
        UserError: for a missing folder or table, an empty cohort, an unknown class, a subject that
            occurs twice, a name with control characters, or a table that breaks its contract.
    """
    safe_name(data.label, "data.label, which becomes part of the split file's name,")
    if data.label in INDEX_COLUMNS:
        raise UserError(
            f"data.label={data.label} is a column of the cache's own index; copy the class to a "
            "column of another name"
        )
    if data.kind == "table":
        scans = read_table(data)
    else:
        brats, ixi, count = _folders(data)
        wanted = _wanted_classes(data)
        scans = []
        if set(wanted) & set(BRATS_CLASSES):
            scans += [scan for scan in find_brats(brats, data.label) if scan.label in wanted]
        if HEALTHY in wanted:
            scans += find_ixi(ixi, data.label, count, data.ixi_seed)
        for scan in scans:
            _refuse_control_characters(f"the cohort {data.name}", [scan.path])
        _refuse_duplicates(scans, [str(scan.path) for scan in scans])
    absent = [name for name in data.classes if name not in {scan.label for scan in scans}]
    if absent:
        raise ConfigError(
            f"data.classes names {', '.join(absent)}, but no scan of the cohort {data.name} has "
            f"that class (found: {', '.join(sorted({scan.label for scan in scans}))})"
        )
    return scans


def find_brats(folder: Path, label: str) -> list[Scan]:
    """T1ce scans of the BraTS training data, `<folder>/{HGG,LGG}/<case>/<case>_t1ce.nii(.gz)`.

    A case without its T1ce is listed all the same, so that it ends up among the rejected scans
    rather than vanishing.
    """
    scans = []
    for grade in BRATS_CLASSES:
        grade_folder = folder / grade
        if not grade_folder.is_dir():
            raise UserError(
                f"data.brats must be the folder that holds HGG and LGG "
                f"(MICCAI_BraTS_2019_Data_Training); there is no folder {grade_folder}"
            )
        for case in sorted(path for path in grade_folder.iterdir() if path.is_dir()):
            if case.name.startswith("."):
                continue
            name = BRATS_CASE.fullmatch(case.name)
            path = _either_suffix(case / f"{case.name}_t1ce")
            scans.append(
                Scan(
                    subject_id=case.name,
                    patient_id=name["patient"] if name else case.name,
                    source=f"BraTS-{name['centre']}" if name else "BraTS-unknown",
                    label=grade,
                    paths={SCAN: path},
                    stripped=True,
                    columns={label: grade, "path": str(path)},
                )
            )
    if not scans:
        raise UserError(f"data.brats={folder}: HGG and LGG hold no case folders")
    return scans


def find_ixi(folder: Path, label: str, count: int, seed: int) -> list[Scan]:
    """IXI T1 heads, `<folder>/IXI<id>-<site>-<no>-T1.nii(.gz)`: `count` drawn at random, or all.

    Args:
        count: scans to draw; 0 takes every one.
        seed: of the draw, which depends on the sorted file names alone.
    """
    if not folder.is_dir():
        raise UserError(
            f"data.ixi must be the folder that holds IXI*-T1.nii.gz; there is no folder {folder}"
        )
    found: dict[str, Path] = {}
    for suffix in reversed(NIFTI_SUFFIXES):  # the compressed file wins where both are there
        for path in folder.glob(f"IXI*-T1{suffix}"):
            found[path.name.removesuffix(suffix)] = path
    if len(found) < max(count, 1):
        raise UserError(
            f"data.ixi={folder} holds {len(found)} files IXI*-T1.nii(.gz), but data.ixi_count="
            f"{count} asks for {max(count, 1)}; data.ixi_count=0 takes all there are"
        )
    stems = sorted(found)
    if count:
        drawn = np.random.default_rng(seed).choice(len(stems), size=count, replace=False)
        stems = [stems[index] for index in sorted(drawn)]
    scans = []
    for stem in stems:
        name = IXI_SCAN.fullmatch(stem)
        scans.append(
            Scan(
                subject_id=stem.removesuffix("-T1"),
                patient_id=name["patient"] if name else stem.removesuffix("-T1"),
                source=f"IXI-{name['site']}" if name else "IXI-unknown",
                label=HEALTHY,
                paths={SCAN: found[stem]},
                columns={label: HEALTHY, "path": str(found[stem])},
            )
        )
    return scans


def read_table(data: DataConfig) -> list[Scan]:
    """Scans of a CSV table: `subject_id`, `path`, the label column, and what the README lists.

    Raises:
        UserError: naming the table and the line.
    """
    if not data.table:
        raise UserError("data=table needs data.table=FILE, a CSV with subject_id, path and a label")
    table = absolute(data.table)
    try:
        # utf-8-sig: spreadsheets put a byte-order mark before the first column's name.
        with table.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file, strict=True)
            lines.fieldnames = [name.strip() for name in lines.fieldnames or ()]
            _check_header(table, list(lines.fieldnames), data.label)
            # Spreadsheets write rows of nothing but commas at the end.
            numbered = [(lines.line_num, line) for line in lines if any(line.values())]
    except FileNotFoundError:
        raise UserError(f"data.table: there is no file {table}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"data.table: cannot read {table} as CSV ({error}); save it as UTF-8"
        ) from error
    if not numbered:
        raise UserError(f"data.table: {table} lists no scans")
    scans = [_table_scan(table, number, line, data) for number, line in numbered]
    _refuse_duplicates(scans, [f"line {number} of {table}" for number, _ in numbered])
    if data.classes:
        unknown = sorted({scan.label for scan in scans} - set(data.classes))
        if unknown:
            raise ConfigError(
                f"{table}: column {data.label} holds classes that data.classes does not name: "
                f"{', '.join(unknown)} (named: {', '.join(data.classes)})"
            )
    return scans


def _check_header(table: Path, header: list[str], label: str) -> None:
    if len(header) == 1:  # before anything else: with other separators the header is one name
        raise UserError(
            f"data.table: {table} must be a CSV with a header and columns separated by commas; "
            f"found the header {' '.join(header)!r}"
        )
    _refuse_control_characters(f"the header of {table}", header)
    missing = [name for name in ("subject_id", "path", label) if name not in header]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise UserError(
            f"data.table: {table} lacks the column{plural} {', '.join(missing)} (found: "
            f"{', '.join(header) or 'nothing'}); data.label names the column of the class"
        )
    doubled = sorted({name for name in header if header.count(name) > 1})
    reserved = [name for name in header if name in INDEX_COLUMNS[3:]]
    if doubled or reserved:
        raise UserError(
            f"data.table: {table} must have each column once and none named "
            f"{', '.join(INDEX_COLUMNS[3:])}; rename {', '.join(doubled + reserved)}"
        )


def _table_scan(table: Path, number: int, line: dict[str | None, Any], data: DataConfig) -> Scan:
    where = f"line {number} of {table}"
    if None in line or None in line.values():
        raise UserError(f"{where} has more or fewer fields than the header")
    # A nameless first column is the row number that pandas writes unless told otherwise.
    cells = {name: str(value).strip() for name, value in line.items() if name}
    for name in ("subject_id", "path", data.label):
        if not cells[name]:
            raise UserError(f"{where}: the field {name} is empty")
    used = ("subject_id", "patient_id", "source", "path", "mask", data.label)
    _refuse_control_characters(where, [cells.get(name, "") for name in used])
    stripped = cells.get("stripped", "").lower()
    if stripped and stripped not in TRUE + FALSE:
        raise UserError(f"{where}: stripped must be true or false, found {cells['stripped']!r}")
    mask = cells.get("mask", "")
    return Scan(
        subject_id=cells["subject_id"],
        patient_id=cells.get("patient_id") or cells["subject_id"],
        source=cells.get("source") or table.stem,
        label=cells[data.label],
        paths={SCAN: absolute(cells["path"], table.parent)},
        mask=absolute(mask, table.parent) if mask else None,
        stripped=stripped in TRUE if stripped else data.stripped,
        # Notes may run over several lines in a spreadsheet; the index has one line a scan.
        columns={
            name: CONTROL_CHARACTERS.sub(" ", text)
            for name, text in cells.items()
            if name not in INDEX_COLUMNS
        },
    )


def _refuse_control_characters(where: str, values: Iterable[str | Path]) -> None:
    for text in map(str, values):
        if CONTROL_CHARACTERS.search(text):
            raise UserError(
                f"{where}: {text!a} holds line breaks or other control characters, which the names "
                "of subjects, patients, sources, classes and files must not; rename it"
            )


def _folders(data: DataConfig) -> tuple[Path, Path, int]:
    """The BraTS folder, the IXI folder, and how many IXI scans to draw."""
    if data.kind == "phantom":
        if not data.folder:
            raise UserError("data=phantom needs data.folder=DIR, made by preprocessing.phantom")
        folder = absolute(data.folder)
        if not folder.is_dir():
            raise UserError(
                f"data.folder: there is no folder {folder}; make the phantoms first: "
                "python -m preprocessing.phantom --out DIR"
            )
        return folder / "MICCAI_BraTS_2019_Data_Training", folder / "IXI-T1", 0
    wanted = _wanted_classes(data)
    if not data.brats and set(wanted) & set(BRATS_CLASSES):
        raise UserError("data=brats_ixi needs data.brats=DIR, the folder that holds HGG and LGG")
    if not data.ixi and HEALTHY in wanted:
        raise UserError("data=brats_ixi needs data.ixi=DIR, the folder that holds IXI*-T1.nii.gz")
    brats, ixi = (absolute(text or ".") for text in (data.brats, data.ixi))
    return brats, ixi, data.ixi_count


def _wanted_classes(data: DataConfig) -> tuple[str, ...]:
    """The classes of BraTS and IXI that the configuration asks for, all of them by default."""
    known = (*BRATS_CLASSES, HEALTHY)
    unknown = [name for name in data.classes if name not in known]
    if unknown:
        raise UserError(
            f"data.classes: {', '.join(unknown)} unknown; BraTS and IXI hold {', '.join(known)}"
        )
    return data.classes or known


def _either_suffix(stem: Path) -> Path:
    """`stem` with the suffix that exists, `.nii.gz` where none does."""
    paths = [stem.with_name(stem.name + suffix) for suffix in NIFTI_SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


def _refuse_duplicates(scans: list[Scan], places: list[str]) -> None:
    first: dict[str, str] = {}
    for scan, place in zip(scans, places, strict=True):
        if scan.subject_id in first:
            raise UserError(
                f"the subject {scan.subject_id} occurs twice: {first[scan.subject_id]} and "
                f"{place}; subject_id names one scan, patient_id joins the scans of one person"
            )
        first[scan.subject_id] = place
