"""What each subject of a pre-training is to be recognised as. No torch.

A number, such as an age, becomes quantile classes and not a regression: loss, head and learning
rate stay those of every other run, and classification of binned ages is what works best in the
field's own benchmark (Peng et al., 'Accurate brain age prediction with lightweight deep neural
networks', 2021).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stfmri.study.duplicates import Pair
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.shards import IndexRow
from stfmri.study.splits import Subject, group_subjects
from stfmri.study.words import listed, plural

SOURCE = "source"  # a column of every index
NO_VALUE = ("", "n/a", "na", "nan", "none")
# Distinct numbers above which a column is a measure and not a name of classes.
MOST_NUMBERS = 10


@dataclass(frozen=True)
class Targets:
    """The subjects to train on and the class of each.

    Attributes:
        classes: their names; empty where a class is a subject.
        count: how many classes there are.
        words: the classes as a methods section has them.
        note: what the user should know, if anything.
    """

    rows: tuple[IndexRow, ...]
    labels: tuple[int, ...]
    count: int
    classes: tuple[str, ...] = ()
    words: str = ""
    note: str = ""


def of_column(rows: Sequence[IndexRow], column: str, bins: int) -> Targets:
    """Classes from a column of the cohort table; subjects without a value are left out.

    Args:
        column: of the cohort table, or `source`.
        bins: quantile classes that a measure is cut into, by the subjects in `rows` alone.

    Raises:
        ConfigError: where the cohort has no such column.
        UserError: where it does not hold two classes, or a class for each scan.
    """
    known = dict.fromkeys([SOURCE, *(name for row in rows for name in row.columns)])
    if column not in known:
        raise ConfigError(
            f"--label {column}: the cohort has no such column; it has {listed([*known], 20)}"
        )
    values = [row.source if column == SOURCE else row.columns.get(column, "") for row in rows]
    there = [value.strip().lower() not in NO_VALUE for value in values]
    kept = [row for row, is_there in zip(rows, there, strict=True) if is_there]
    texts = [value.strip() for value, is_there in zip(values, there, strict=True) if is_there]
    numbers = _numbers(texts)
    if numbers is not None and len(set(numbers)) > MOST_NUMBERS:
        texts, classes = _quantiles(numbers, bins)
        words = f"{len(classes)} quantile classes"
    else:
        classes = tuple(sorted(set(texts)))
        words = listed(classes, 10)
    if len(classes) < 2:
        raise UserError(
            f"--label {column} must hold at least two classes to learn from, found "
            f"{listed(classes) or 'no value'} in {plural(len(rows), 'subject')}; choose another "
            "column, or --task self"
        )
    if len(classes) == len(kept):
        raise UserError(
            f"--label {column} has another value for each of {plural(len(kept), 'scan')}, so it "
            "teaches nothing that another scan can show; choose another column, or --task self"
        )
    missing = len(rows) - len(kept)
    note = f"{plural(missing, 'subject')} without {column} left out" if missing else ""
    labels = tuple(classes.index(text) for text in texts)
    return Targets(tuple(kept), labels, len(classes), classes, words, note)


def of_subjects(rows: Sequence[IndexRow], pairs: Sequence[Pair]) -> Targets:
    """A class for each patient; scans with the same voxels, or almost, are one as well."""
    subjects = [Subject(row.subject_id, row.patient_id, row.source, "", row.sha256) for row in rows]
    groups = group_subjects(subjects, pairs)
    number = {one.subject_id: label for label, group in enumerate(groups) for one in group}
    labels = tuple(number[row.subject_id] for row in rows)
    if len(groups) < 2:
        raise UserError("--task self needs at least two patients to tell apart, found one")
    return Targets(tuple(rows), labels, len(groups))


def _numbers(texts: Sequence[str]) -> list[float] | None:
    """The values as numbers, if all of them are."""
    try:
        found = [float(text) for text in texts]
    except ValueError:
        return None
    return found if np.isfinite(found).all() else None


def _quantiles(numbers: Sequence[float], bins: int) -> tuple[list[str], tuple[str, ...]]:
    """The class of each number, and the classes from low to high: `20–31.5`, …"""
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, bins + 1)))
    which = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
    names = tuple(f"{low:.6g}–{high:.6g}" for low, high in itertools.pairwise(edges))
    return [names[number] for number in which], names
