"""What would spoil a study of a cohort, each in a sentence that says what to do about it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from preprocessing.cohorts.contrasts import canonical
from stfmri.study.config.data import DataConfig
from stfmri.study.words import listed, percent, plural

if TYPE_CHECKING:
    from preprocessing.cohorts.survey import Survey

LEAST_PATIENTS = 10  # of a class; with fewer a fold of five tests one or none
ENTANGLED = 0.5  # how far the source may decide the class
ONE_SIDED = 0.8  # share of the largest class
THICK_MM = 3.5  # slices that carry no detail of 2 mm
EXTRACTED = ("t1", "t1ce")  # contrasts that the default brain extractor was made for


def cautions(found: Survey, data: DataConfig) -> list[str]:
    """Everything that the user should know before computing anything, gravest first."""
    return [
        *_of_files(found),
        *_of_classes(found, data),
        *_of_shortcuts(found),
        *_of_scans(found, data),
    ]


def accuracy_margin(patients: int) -> float:
    """Half the width of a 95 % interval about an accuracy of 0.7, each patient tested once."""
    return 1.96 * math.sqrt(0.7 * 0.3 / patients)


def _of_files(found: Survey) -> Iterator[str]:
    if found.missing:
        yield (
            f"{plural(len(found.missing), 'file')} not found: {_paths(found.missing)}; their "
            "subjects will be rejected. Relative paths start at the table's folder"
        )
    if found.faults:
        reasons = listed([f"{name}: {why}" for name, why in found.faults.items()], 2)
        yield f"{plural(len(found.faults), 'subject')} cannot be used ({reasons})"
    unread = [scan for scan in found.looked if scan.fault]
    if unread:
        reasons = listed([f"{scan.path.name}: {scan.fault}" for scan in unread], 2)
        yield f"{len(unread)} of the {len(found.looked)} scans read are damaged ({reasons})"
    if found.shared:
        yield (
            f"{plural(len(found.shared), 'file')} listed for several subjects "
            f"({_paths(found.shared)}); they will stay on one side of every split"
        )


def _of_classes(found: Survey, data: DataConfig) -> Iterator[str]:
    small = {name: count for name, count in found.classes.items() if count < LEAST_PATIENTS}
    if small:
        sizes = ", ".join(f"{name} ({plural(count, 'patient')})" for name, count in small.items())
        yield (
            f"too few to learn from or to test on: {sizes}; collect more, merge classes in the "
            f"column {data.label}, or leave those subjects out with data.exclude"
        )
    largest = max(found.classes.values()) / found.patients
    if largest > ONE_SIDED:
        yield (
            f"{percent(largest)} of the patients are of one class: an accuracy of {largest:.2f} "
            "takes no image, so judge by macro F1 and balanced accuracy"
        )


def _of_shortcuts(found: Survey) -> Iterator[str]:
    if found.by_source >= ENTANGLED:
        pure = [name for name, classes in found.sources.items() if len(classes) == 1]
        only = f"; {listed(pure)} of one class alone" if pure else ""
        yield (
            f"the source decides the class of most subjects{only}: a network may learn the scanner "
            "instead of the disease. Compare with the baseline source_only, look at the scores "
            "within sources, and consider split=source"
        )
    copies = [column.name for column in found.columns if column.is_copy]
    if copies:
        yield (
            f"{listed(copies)} all but {'decides' if len(copies) == 1 else 'decide'} the class, so "
            "not taken as a covariate"
        )


def _of_scans(found: Survey, data: DataConfig) -> Iterator[str]:
    read = [scan for scan in found.looked if not scan.fault]
    unsaid = [scan for scan in read if scan.looks_stripped and not scan.stripped]
    if unsaid and len(unsaid) < len(read) and not found.masks:
        yield (
            f"{len(unsaid)} of the {len(read)} scans read show nothing but a brain, the others a "
            "head; give the table a column stripped (true or false)"
        )
    if wrong := [scan for scan in read if scan.stripped and not scan.looks_stripped]:
        yield (
            f"{_paths([scan.path for scan in wrong])} should hold a brain alone, but "
            f"{wrong[0].litres:.1f} l of it are not background; correct the column stripped"
        )
    thick = [max(scan.voxel_mm) for scan in read if max(scan.voxel_mm) > THICK_MM]
    if thick:
        yield (
            f"slices of up to {max(thick):g} mm: detail finer than that is not in the scans, and "
            "one plane is sharper than the others"
        )
    first = canonical(data.contrasts[0]) if data.contrasts else EXTRACTED[0]
    heads = found.usable - max(found.masks, found.stripped)
    if heads and not unsaid and first not in EXTRACTED:
        yield (
            f"brains are extracted from {first}, for which preprocessing.skullstrip=hdbet is made "
            "and the default is not (python launch/doctor.py says whether it is here)"
        )


def _paths(paths: tuple[Path, ...] | list[Path]) -> str:
    return listed([str(path) for path in paths], 2)
