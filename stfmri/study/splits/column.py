"""`column`: the user's own folds, from a column of the cohort table.

The values either are train, test and perhaps val, which is one fold; or each names the fold in
which its scans are tested, all others being trained on.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from stfmri.study.errors import ConfigError, LeakageError, UserError
from stfmri.study.files import safe_name
from stfmri.study.splits.groups import group_subjects
from stfmri.study.splits.record import Described, Group, Request, Sides, SplitKind, Subject
from stfmri.study.words import listed, plural

if TYPE_CHECKING:
    from stfmri.study.config import Config
    from stfmri.study.config.split import SplitConfig

USUAL = ("fold", "split")  # columns that are taken where split.column names none
SIDES = ("train", "val", "test")


def _resolve(config: Config, subjects: Sequence[Subject]) -> SplitConfig:
    split, file = config.split, config.cache / "index.csv"
    known = list(subjects[0].columns)
    column = split.column or next((name for name in USUAL if name in known), "")
    if column not in known:
        wanted = f"the column {split.column}" if split.column else "a column fold or split"
        raise ConfigError(
            f"split=column needs {wanted} in {file}, found {', '.join(known)}; choose one with "
            "split.column=NAME, or add it to the table and run python -m preprocessing again"
        )
    safe_name(column, "split.column, which becomes part of the split file's name,")
    count = len(_values(subjects, column))
    if split.n not in (0, count):
        raise ConfigError(
            f"split.n={split.n}, but the column {column} of {file} gives {plural(count, 'fold')}; "
            "leave split.n out"
        )
    return replace(split, n=count, column=column)


def _values(subjects: Sequence[Subject], column: str) -> list[str]:
    """The value that marks the test part of each fold, in the order of the folds.

    Raises:
        UserError: where the column cannot be read as folds.
    """
    empty = sorted(s.subject_id for s in subjects if not s.columns.get(column))
    if empty:
        raise UserError(
            f"the column {column} is empty for {plural(len(empty), 'scan')} ({listed(empty)}); "
            "fill it in, or leave those scans out of the cohort"
        )
    found = {subject.columns[column] for subject in subjects}
    lowered = {value.lower() for value in found}
    if lowered & set(SIDES):
        if not {"train", "test"} <= lowered <= set(SIDES):
            raise UserError(
                f"the column {column} must hold train, test and perhaps val, or the names of "
                f"folds; found {listed(sorted(found))}"
            )
        return ["test"]
    if len(found) < 2:
        raise UserError(
            f"the column {column} names one fold only, {listed(sorted(found))}: nobody would be "
            "left to train on"
        )
    return sorted(found, key=_natural)


def _natural(value: str) -> tuple[int, float, str]:
    """Numbers by size, before any text."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    # `nan` is a number to Python, but has no place among others.
    return (1, 0.0, value) if math.isnan(number) else (0, number, value)


def _draw(request: Request) -> Sequence[Sides]:
    column, groups = request.split.column, group_subjects(request.subjects, request.pairs)
    _refuse_divided(groups, column)
    values = _values(request.subjects, column)
    value_of = [group[0].columns[column] for group in groups]
    if values != ["test"]:
        return [
            Sides(
                [group for group, own in zip(groups, value_of, strict=True) if own != value],
                [group for group, own in zip(groups, value_of, strict=True) if own == value],
            )
            for value in values
        ]
    train, val, test = (
        [group for group, own in zip(groups, value_of, strict=True) if own.lower() == side]
        for side in SIDES
    )
    if val and request.split.val_fraction:
        raise ConfigError(
            f"the column {column} names validation scans and split.val_fraction="
            f"{request.split.val_fraction} asks to draw some; set split.val_fraction=0"
        )
    return [Sides(train, test, val)]


def _refuse_divided(groups: Sequence[Group], column: str) -> None:
    """Refuse a column that puts a patient, or scans that are (almost) the same, on two sides."""
    divided = [
        f"{group[0].subject_id} ({group[0].columns[column]}) and "
        f"{other.subject_id} ({other.columns[column]})"
        for group in groups
        for other in group[1:]
        if other.columns[column].lower() != group[0].columns[column].lower()
    ]
    if divided:
        raise LeakageError(
            f"the column {column} divides scans of one patient or with (almost) the same voxels: "
            f"{listed(divided)}; give them one value, and run python -m preprocessing again. "
            "split.near_duplicates=apart allows it of scans that are only almost the same"
        )


def column_sha256(subjects: Sequence[Subject], column: str) -> str:
    """Hash of the column: which value each subject has, in any order."""
    rows = sorted((s.subject_id, s.columns.get(column, "")) for s in subjects)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _tag(config: Config) -> str:
    # `@` stands in no name, so no label and column run into one another.
    return f"@{config.split.column}-{config.split.n}"


def _settings(config: Config, subjects: Sequence[Subject]) -> Mapping[str, object]:
    column = config.split.column
    return {"column": column, "column_sha256": column_sha256(subjects, column)}


def _sentence(split: Described) -> str:
    what = "split" if len(split.folds) == 1 else f"{len(split.folds)} folds"
    digest = str(split.settings.get("column_sha256", ""))[:12]
    return f"the user's own {what} (column {split.settings.get('column')}, sha256 {digest})"


COLUMN = SplitKind(
    name="column",
    summary="your own folds, from a column of the cohort table",
    draw=_draw,
    sentence=_sentence,
    remedy="mend the column, or leave the class out",
    least_n=0,
    keys=("column",),
    tag=_tag,
    settings=_settings,
    resolve=_resolve,
)
