"""A part of a fold's training subjects, for learning curves.

The split file knows nothing of it: the part is taken when a fold is opened, always the same of one
seed and fold, and a smaller one lies within a larger one.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from stfmri.study.errors import UserError
from stfmri.study.splits.file import SplitFile
from stfmri.study.splits.groups import group_subjects, majority
from stfmri.study.splits.record import Fold, Group, Subject

LEAST_PATIENTS = 2  # of each class


def reduced(
    split: SplitFile, number: int, subjects: Mapping[str, Subject], fraction: float
) -> Fold:
    """A fold of which a fraction trains; validation and test part stay as they are.

    Of each class the fraction of its independent patients is taken, with all of their scans.

    Args:
        split: with the fold and the seed that it was drawn with.
        number: of the fold.
        subjects: by id.
        fraction: in (0, 1]; 1 changes nothing.

    Raises:
        UserError: where too few patients of a class would be left.
    """
    fold = split.folds[number]
    if fraction == 1:
        return fold
    groups = group_subjects([subjects[name] for name in fold.train], split.joined)
    strata: dict[str, list[Group]] = defaultdict(list)
    for label, group in zip(majority(groups), groups, strict=True):
        strata[label].append(group)
    seed = split.settings.get("seed", 0)
    kept = [
        group
        for label in sorted(strata)
        for group in sorted(strata[label], key=lambda one: _place(one, seed, number))[
            : math.floor(fraction * len(strata[label]) + 0.5)
        ]
    ]
    for label in dict.fromkeys(subject.label for group in groups for subject in group):
        patients = sum(any(subject.label == label for subject in group) for group in kept)
        if patients < LEAST_PATIENTS:
            raise UserError(
                f"split.train_fraction={fraction:g} leaves {patients} independent "
                f"patient{'' if patients == 1 else 's'} of class {label!r} to train on in fold "
                f"{number} of {split.path}, needed are {LEAST_PATIENTS}; choose a larger fraction"
            )
    chosen = {subject.subject_id for group in kept for subject in group}
    return replace(fold, train=tuple(name for name in fold.train if name in chosen))


def _place(group: Group, seed: object, fold: int) -> str:
    """Where a group stands in a random order that depends on nobody else."""
    first = min(subject.subject_id for subject in group)
    return hashlib.sha256(f"{seed} {fold} {first}".encode()).hexdigest()
