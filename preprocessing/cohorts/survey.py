"""What a cohort holds, before anything is preprocessed: classes, sources, columns, a few scans."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from preprocessing.brain import stripped_brain
from preprocessing.cohorts.columns import Column, decided_by_groups, describe, in_order
from preprocessing.cohorts.contrasts import CONTRASTS
from preprocessing.cohorts.find import find_scans
from preprocessing.cohorts.scan import Scan
from preprocessing.nifti import ScanError, parse, read_bytes
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import UserError

SCANS_READ = 5
NO_CONTRAST = "no-contrast"  # a name that no cohort has
# A brain with its fluid is 1.0 to 2.0 l; a head, even without neck and face, is over 2.5 l.
MOST_BRAIN_L = 2.3


@dataclass(frozen=True)
class Looked:
    """A scan that was read.

    Attributes:
        shape: voxels along the stored axes.
        voxel_mm: their sizes.
        litres: of what is not background.
        stripped: whether the table says that there is nothing but the brain.
        fault: why it could not be read; empty for no reason.
    """

    path: Path
    shape: tuple[int, ...] = ()
    voxel_mm: tuple[float, ...] = ()
    litres: float = math.nan
    stripped: bool = False
    fault: str = ""

    @property
    def looks_stripped(self) -> bool:
        """Whether what is not background is no more than a brain."""
        return self.litres <= MOST_BRAIN_L


@dataclass(frozen=True)
class Survey:
    """What a cohort holds. Counts are of subjects that have a class and a file.

    Attributes:
        listed: subjects in the table or in the folders.
        classes: class → patients, in order.
        subjects: class → subjects.
        sources: source → class → subjects.
        by_source: how far the source decides the class, from 0 to 1.
        columns: those that say something of a subject.
        contrasts: contrast → subjects that have it; empty where the cohort has one.
        masks: subjects with a brain mask.
        stripped: subjects that are said to be brain-extracted.
        missing: files that are not there.
        faults: subject → why it cannot be used.
        shared: files that belong to several subjects.
        looked: a few scans, spread over the cohort.
    """

    listed: int
    classes: dict[str, int]
    subjects: dict[str, int]
    sources: dict[str, Counter[str]]
    by_source: float
    columns: tuple[Column, ...]
    contrasts: dict[str, int]
    masks: int
    stripped: int
    missing: tuple[Path, ...]
    faults: dict[str, str]
    shared: tuple[Path, ...]
    looked: tuple[Looked, ...]

    @property
    def patients(self) -> int:
        """Patients of all classes; one with scans of two classes counts in both."""
        return sum(self.classes.values())

    @property
    def usable(self) -> int:
        """Subjects with a class and a file."""
        return sum(self.subjects.values())


def survey(data: DataConfig) -> Survey:
    """Look at the cohort that `data` describes; a few of its scans are read.

    Raises:
        UserError: as `find_scans` does, and where no subject can be used.
    """
    scans = find_scans(data)
    faults = {scan.subject_id: scan.fault for scan in scans if scan.fault and not scan.excluded}
    known = [scan for scan in scans if not scan.fault]
    files = [path for scan in known for path in (*scan.paths.values(), scan.mask) if path]
    missing = tuple(path for path in files if not path.is_file())
    gone = set(missing)
    used = [scan for scan in known if not gone & {*scan.paths.values(), scan.mask}]
    if not used:
        first = missing[0] if missing else next(iter(faults.values()), "it lists nobody")
        raise UserError(
            f"none of the {len(scans)} subjects of {data.table or data.folder} has a class and a "
            f"scan that is there ({first}); relative paths start at the table's folder"
        )
    labels = [scan.label for scan in used]
    columns = _columns(used, data.label)
    order = _class_order(labels, data.classes, columns)
    patients = Counter(label for _, label in {(scan.patient_id, scan.label) for scan in used})
    subjects = Counter(labels)
    sources: dict[str, Counter[str]] = {}
    for scan in used:
        sources.setdefault(scan.source, Counter())[scan.label] += 1
    uses = Counter(scan.path for scan in used)
    return Survey(
        listed=len(scans),
        classes={name: patients[name] for name in order},
        subjects={name: subjects[name] for name in order},
        sources=dict(sorted(sources.items())),
        by_source=decided_by_groups([scan.source for scan in used], labels),
        columns=columns,
        contrasts=_contrasts(data, scans),
        masks=sum(scan.mask is not None for scan in used),
        stripped=sum(scan.stripped for scan in used),
        missing=missing,
        faults=faults,
        shared=tuple(path for path, count in uses.items() if count > 1),
        looked=tuple(_looked(scan) for scan in _spread(used, SCANS_READ)),
    )


def _columns(scans: Sequence[Scan], label: str) -> tuple[Column, ...]:
    names = dict.fromkeys(name for scan in scans for name in scan.columns if name != label)
    labels = [scan.label for scan in scans]
    found = (describe(name, [s.columns.get(name, "") for s in scans], labels) for name in names)
    return tuple(column for column in found if column is not None)


def _class_order(
    labels: Sequence[str], given: Sequence[str], columns: Sequence[Column]
) -> tuple[str, ...]:
    """As given; else by the numbers that they were cut from (age for age group); else sorted."""
    if given:
        return tuple(given)
    cut = [column.order for column in columns if column.is_copy and column.order]
    return cut[0] if cut else tuple(sorted(set(labels), key=in_order))


def _contrasts(data: DataConfig, scans: Sequence[Scan]) -> dict[str, int]:
    """How many subjects have each contrast that the cohort could give."""
    if _having(data, NO_CONTRAST):
        return {}  # one scan a subject, which goes by any name
    held = [name.removeprefix("path_") for name in scans[0].columns if name.startswith("path_")]
    counts = {name: _having(data, name) for name in held or CONTRASTS}
    return {name: count for name, count in counts.items() if count}


def _having(data: DataConfig, contrast: str) -> int:
    """How many subjects have a contrast; nobody where the layout does not know it."""
    try:
        scans = find_scans(replace(data, contrasts=(contrast,)))
    except UserError:
        return 0
    return sum(contrast in scan.paths for scan in scans)


def _spread(scans: Sequence[Scan], count: int) -> list[Scan]:
    """Some scans from all over the cohort."""
    count = min(count, len(scans))
    return [scans[round(place)] for place in np.linspace(0, len(scans) - 1, count)]


def _looked(scan: Scan) -> Looked:
    try:
        image = parse(read_bytes(scan.path))
        litres = float(stripped_brain(image).sum() * np.prod(image.spacing)) / 1e6
    except ScanError as error:
        return Looked(scan.path, stripped=scan.stripped, fault=str(error))
    voxel_mm = tuple(round(float(size), 2) for size in image.spacing)
    return Looked(scan.path, image.data.shape, voxel_mm, litres, scan.stripped)
