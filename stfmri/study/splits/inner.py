"""The inner division of a fold: a part of its training subjects judges what is chosen in the fold.

The inner test part is drawn from the fold's training subjects, whole groups at a time; the fold's
validation part, if it has one, stays what it is, and its test subjects are in no part. The division
of every fold is drawn once and written beside the split that it belongs to:

    <split>-inner-<hash>.json    the hash is over the training parts that were divided, and how
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from stfmri.study.errors import LeakageError, UserError
from stfmri.study.splits.checks import guard
from stfmri.study.splits.file import SplitFile, read
from stfmri.study.splits.groups import group_subjects
from stfmri.study.splits.record import Fold, Subject
from stfmri.study.splits.stratify import Need, derived, require, shuffled

KIND = "inner"
SEED_TAG = 1  # apart from the seeds that the folds themselves are drawn with
HASH_DIGITS = 8


def inner_file(
    outer: SplitFile, subjects: Mapping[str, Subject], fraction: float, seed: int
) -> SplitFile:
    """The inner division of every fold of `outer`, as it was written or, if it was not, as drawn.

    Args:
        subjects: of the cohort, by id.
        fraction: of each training part that judges.
        seed: of the split.

    Raises:
        UserError: where a training part has too few independent patients of some class.
        LeakageError: where the written division has a subject that is not of the training part, or
            a patient or volume on two sides.
    """
    settings = {
        "of": outer.path.name,
        "of_sha256": outer.sha256,
        "fraction": fraction,
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    path = outer.path.with_name(f"{outer.path.stem}-{KIND}-{digest[:HASH_DIGITS]}.json")
    if path.is_file():
        found = read(path)
        _require_within(found, outer, subjects)
        return found
    folds = tuple(
        divided(fold, number, outer, subjects, fraction, seed)
        for number, fold in enumerate(outer.folds)
    )
    return replace(outer, path=path, kind=KIND, folds=folds, settings=settings, near_duplicates=())


def divided(
    fold: Fold,
    number: int,
    outer: SplitFile,
    subjects: Mapping[str, Subject],
    fraction: float,
    seed: int,
    asker: str = "sweep.select",
) -> Fold:
    """The fold as its inner runs see it: `test` is a part of its own training subjects.

    Args:
        number: of the fold.
        asker: what needs the division, for the error.

    Raises:
        UserError: where the training part has too few independent patients of some class.
    """
    groups = group_subjects([subjects[name] for name in fold.train], outer.joined)
    classes = frozenset(outer.classes)
    require(groups, outer.classes, 2, f"{asker}, in the training part of fold {number},")
    seed_of_fold = derived(seed, number, SEED_TAG)
    try:
        [sides] = shuffled(groups, 1, fraction, seed_of_fold, Need(classes, classes))
    except UserError as error:
        raise UserError(
            f"{asker} cannot judge on {fraction:g} of the {len(fold.train)} training subjects of "
            f"fold {number}, which are of {len(groups)} independent patients: every class needs "
            "one on either side; add scans, or let more train (split.test_fraction, split.n)"
        ) from error
    return Fold(_ids(sides.train), fold.val, _ids(sides.test))


def _ids(groups: Sequence[Sequence[Subject]]) -> tuple[str, ...]:
    return tuple(sorted(subject.subject_id for group in groups for subject in group))


def _require_within(inner: SplitFile, outer: SplitFile, subjects: Mapping[str, Subject]) -> None:
    """Refuse a written division that leaves the training parts it was drawn from."""
    if len(inner.folds) != len(outer.folds):
        raise UserError(
            f"{inner.path} has {len(inner.folds)} folds, {outer.path} has {len(outer.folds)}; "
            "delete the former to draw it again"
        )
    for number, (mine, whole) in enumerate(zip(inner.folds, outer.folds, strict=True)):
        where = f"{inner.path}, fold {number}"
        guard(mine, subjects, where)
        outside = {*mine.train, *mine.test} - {*whole.train}
        outside |= {*mine.val} - {*whole.val}
        if outside:
            raise LeakageError(
                f"{where}: {', '.join(sorted(outside)[:5])} is not of that fold's training part; "
                "delete the file to draw it again"
            )
