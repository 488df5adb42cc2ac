"""Draw the folds of any kind, and their validation parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stfmri.study import duplicates
from stfmri.study.splits.checks import refuse_degenerate
from stfmri.study.splits.record import Fold, Request, Sides, Subject
from stfmri.study.splits.registry import SPLITS
from stfmri.study.splits.stratify import held_out

if TYPE_CHECKING:
    # At run time it is the configuration that imports the kinds.
    from stfmri.study.config import Config


def draw(
    subjects: Sequence[Subject],
    config: Config,
    external: Sequence[Subject] = (),
    joined: Sequence[duplicates.Pair] = (),
) -> tuple[Fold, ...]:
    """Draw the folds: whole groups at a time, from the split's seed.

    Args:
        subjects: of the cohort itself.
        external: of the cohort that is only tested, for kinds that have one.
        joined: pairs of the cohort that are kept on one side, though of two patients.

    Raises:
        UserError: where the cohort is too small, or a fold would lack a class.
        LeakageError: where the user's own folds divide a patient or a volume.
    """
    split, kind = config.split, SPLITS[config.split.kind]
    classes = tuple(sorted({subject.label for subject in subjects}))
    drawn = kind.draw(Request(subjects, external, classes, split, joined))
    folds = tuple(_fold(sides, split.val_fraction, split.seed) for sides in drawn)
    by_id = {subject.subject_id: subject for subject in (*subjects, *external)}
    refuse_degenerate(folds, by_id, classes, kind, f"split={kind.name}")
    return folds


def _fold(sides: Sides, val_fraction: float, seed: int) -> Fold:
    train, val = sides.train, sides.val
    if val_fraction:
        held = held_out(train, val_fraction, seed)
        train, val = held.train, held.test
    parts = (
        tuple(sorted(subject.subject_id for group in part for subject in group))
        for part in (train, val, sides.test)
    )
    return Fold(*parts)
