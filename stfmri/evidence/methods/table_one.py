"""Table 1 of a paper: who was studied, by class and by part of the split. No test, no p-value."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stfmri.evidence.cohort import Cohort
from stfmri.evidence.methods.characteristics import (
    MOST_VALUES,
    Characteristic,
    is_missing,
    mean_difference,
    number,
    share_difference,
    sort_columns,
)
from stfmri.evidence.tables import UNDEFINED, Cell, Column, Row, Table
from stfmri.study.splits import Subject, facts
from stfmri.study.words import enumerated, plural

# Columns that say how a scan was read in, not who was scanned.
TECHNICAL = ("mask", "stripped")
SOURCE = "source"
INFINITE = "∞"


@dataclass(frozen=True)
class Group:
    """Subjects that have a column of their own."""

    name: str
    subjects: tuple[Subject, ...]


def table_one(cohort: Cohort, label: str) -> Table:
    """Characteristics of the scans that the split uses.

    Every column of the cohort table is summarised that is numeric (mean ± standard deviation,
    median [quartiles]) or has few values (n, %); the caption names those left out.

    Args:
        cohort: subjects, classes and folds.
        label: the column that holds the class, which is not summarised again.
    """
    used = cohort.used
    classes = [
        Group(name, tuple(subject for subject in used if subject.label == name))
        for name in cohort.classes
    ]
    groups = [Group("All", used), *classes, *_parts(cohort)]
    names = [name for name in _column_names(used) if name != label]
    columns = [(name, [subject.columns.get(name, "") for subject in used]) for name in names]
    sorted_columns = sort_columns([item for item in columns if item[0] not in TECHNICAL])
    rows = _counts(groups)
    sources = tuple(sorted({subject.source for subject in used}))
    if 1 < len(sources) <= MOST_VALUES:
        rows += _rows(Characteristic(SOURCE, sources), groups, classes)
    for characteristic in sorted_columns.characteristics:
        rows += _rows(characteristic, groups, classes)
    titles = [Column("Characteristic"), *(Column(group.name) for group in groups)]
    return Table(
        "table_one",
        "Characteristics of the scans, by class and by part of the split",
        [*titles, Column("Largest SMD")],
        rows,
        _caption(cohort, sorted_columns.left_out),
    )


def split_table(cohort: Cohort) -> Table:
    """How many scans and patients each part of each fold holds, by class."""
    rows = []
    for number_, fold in enumerate(cohort.folds):
        for part, ids in (("train", fold.train), ("validation", fold.val), ("test", fold.test)):
            if not ids:
                continue
            subjects = [cohort.subjects[name] for name in ids]
            by_class = Counter(subject.label for subject in subjects)
            patients = len({subject.patient_id for subject in subjects})
            counts = [by_class[name] for name in cohort.classes]
            rows.append(Row([f"{number_}", part, len(subjects), patients, *counts]))
    columns = [Column(name) for name in ("Fold", "Part", "Scans", "Patients")]
    return Table(
        "split",
        "Scans in each part of each fold",
        [*columns, *map(Column, cohort.classes)],
        rows,
        f"Counts by class are of scans. {how_often(cohort)}",
    )


def how_often(cohort: Cohort) -> str:
    """How many patients are tested and how often, of each class too, in whole sentences."""
    found = facts(cohort.folds, cohort.subjects, cohort.classes)
    whole = found.overall
    span = f"{whole.least}" if whole.least == whole.most else f"{whole.least} to {whole.most}"
    times = "once" if span == "1" else f"{span} times"
    by_class = enumerated(
        [f"{name} {one.tested} of {one.patients}" for name, one in found.by_class.items()]
    )
    return (
        f"Of {plural(whole.patients, 'patient')} {whole.tested} are tested, each of them "
        f"{times} ({by_class}); {whole.never or 'none'} never."
    )


def _parts(cohort: Cohort) -> list[Group]:
    """Train, validation and test of one fold; of several, the tested where they are not all."""
    if len(cohort.folds) == 1:
        fold = cohort.folds[0]
        parts = (("Train", fold.train), ("Validation", fold.val), ("Test", fold.test))
    elif len(cohort.tested) < len(cohort.used):
        parts = (("Tested in any fold", cohort.tested), ("", ()), ("", ()))
    else:
        return []
    return [
        Group(name, tuple(cohort.subjects[subject] for subject in sorted(ids)))
        for name, ids in parts
        if ids
    ]


def _column_names(subjects: Sequence[Subject]) -> list[str]:
    """The columns of the cohort table, in its order."""
    return list(dict.fromkeys(name for subject in subjects for name in subject.columns))


def _counts(groups: Sequence[Group]) -> list[Row]:
    scans: list[Cell] = [f"{len(group.subjects):,}" for group in groups]
    patients = [f"{len({s.patient_id for s in group.subjects}):,}" for group in groups]
    sources = [f"{len({s.source for s in group.subjects}):,}" for group in groups]
    return [
        Row(["Scans, n", *scans, ""]),
        Row(["Patients, n", *patients, ""]),
        Row(["Sources, n", *sources, ""]),
    ]


def _rows(
    characteristic: Characteristic, groups: Sequence[Group], classes: Sequence[Group]
) -> list[Row]:
    """The rows of one characteristic, the last one counting scans without a value, if any."""
    name = characteristic.name
    texts = [_texts(group, name) for group in groups]
    of_classes = [_known(_texts(group, name)) for group in classes]
    if characteristic.is_numeric:
        values = [np.array([number(text) for text in _known(column)]) for column in texts]
        apart = mean_difference([np.array(list(map(number, group))) for group in of_classes])
        rows = [
            Row([f"{name}, mean ± SD", *map(_mean, values), _apart(apart)]),
            Row([f"{name}, median [IQR]", *map(_median, values), ""]),
        ]
    else:
        apart = share_difference(of_classes, characteristic.values)
        rows = [
            Row(
                [
                    f"{name}: {value}, n (%)",
                    *(_share(_known(column), value) for column in texts),
                    "" if position else _apart(apart),
                ]
            )
            for position, value in enumerate(characteristic.values)
        ]
    missing = [sum(map(is_missing, column)) for column in texts]
    if any(missing):
        rows.append(Row([f"{name}, missing, n", *(f"{count:,}" for count in missing), ""]))
    return rows


def _texts(group: Group, name: str) -> list[str]:
    if name == SOURCE:
        return [subject.source for subject in group.subjects]
    return [subject.columns.get(name, "").strip() for subject in group.subjects]


def _known(texts: Sequence[str]) -> list[str]:
    return [text for text in texts if not is_missing(text)]


def _mean(values: np.ndarray) -> str:
    if not len(values):
        return UNDEFINED
    digits = _digits(values)
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}".replace("-", "−")


def _median(values: np.ndarray) -> str:
    if not len(values):
        return UNDEFINED
    digits = _digits(values)
    low, middle, high = np.percentile(values, [25, 50, 75])
    ends = f"{low:.{digits}f} to {high:.{digits}f}"
    return f"{middle:.{digits}f} [{ends}]".replace("-", "−")


def _digits(values: np.ndarray) -> int:
    """One decimal for numbers of tens and more; three significant digits for smaller ones."""
    largest = float(np.abs(values).max())
    return 1 if largest >= 10 or largest == 0 else min(6, 2 - math.floor(math.log10(largest)))


def _share(known: Sequence[str], value: str) -> str:
    count = sum(text == value for text in known)
    return f"{count:,} ({100 * count / len(known):.1f})" if known else UNDEFINED


def _apart(difference: float) -> str:
    if math.isnan(difference):
        return UNDEFINED
    return INFINITE if math.isinf(difference) else f"{difference:.2f}"


def _caption(cohort: Cohort, left_out: Sequence[tuple[str, str]]) -> str:
    sentences = [
        "Counts are of scans; percentages are of the scans with a value.",
        "Largest SMD: the largest absolute standardised difference between any two classes (means: "
        "Austin 2009; shares: Yang & Dalton 2012); ∞ where it tells two classes apart without "
        "exception or variation.",
    ]
    if len(cohort.folds) > 1:
        everyone = len(cohort.tested) == len(cohort.used)
        tested = "Every scan is tested in some fold. " if everyone else ""
        sentences.append(f"{tested}Counts of each fold are in the table of the split.")
    if left_out:
        why = enumerated([f"{name} ({reason})" for name, reason in left_out])
        sentences.append(
            f"Columns left out (text of more than {MOST_VALUES} values among them): {why}."
        )
    return " ".join(sentences)
