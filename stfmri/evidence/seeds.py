"""The trainings of one variant with several seeds: their mean, and their ensemble."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from stfmri.evidence.predicted import Predicted
from stfmri.study.words import counted, listed

Item = TypeVar("Item")


def complete_seeds(
    found: Mapping[int | None, Mapping[int, Item]],
) -> dict[int | None, dict[int, Item]]:
    """The seeds that are there for the same folds: as many folds as any has, then as many seeds.

    A mean over seeds that were tested on different folds would mix the two.

    Args:
        found: by seed and fold, what was read.
    """
    best: frozenset[int] = frozenset()
    for folds in map(frozenset, found.values()):
        if (len(folds), _having(found, folds)) > (len(best), _having(found, best)):
            best = folds
    return {
        seed: {fold: by_fold[fold] for fold in sorted(best)}
        for seed, by_fold in found.items()
        if best <= by_fold.keys()
    }


def _having(found: Mapping[int | None, Collection[int]], folds: frozenset[int]) -> int:
    """How many seeds have all of these folds."""
    return sum(folds <= frozenset(by_fold) for by_fold in found.values())


def together(by_seed: Mapping[int, Predicted]) -> Predicted:
    """The predictions of all seeds of a variant; of one seed, that one's."""
    seeds, members = tuple(by_seed), tuple(by_seed.values())
    if len(members) == 1:
        return replace(members[0], seeds=seeds)
    return replace(
        members[0],
        subject_N=np.concatenate([one.subject_N for one in members]),
        fold_N=np.concatenate([one.fold_N for one in members]),
        label_N=np.concatenate([one.label_N for one in members]),
        probability_NK=np.concatenate([one.probability_NK for one in members]),
        seeds=seeds,
        members=members,
    )


def ensemble(variant: Predicted) -> Predicted:
    """What the networks of all seeds predict together: the mean of their probabilities.

    Args:
        variant: with several members, whose rows are of the same subjects in the same order.
    """
    words = f"mean of {len(variant.members)} seeds"
    return replace(
        variant.members[0],
        name=f"{variant.name}+ensemble",
        label=f"{variant.label}, {words}",
        curve=f"{variant.curve}, {words}" if variant.curve else "",
        extra=", ".join(filter(None, [variant.extra, words])),
        probability_NK=np.mean([one.probability_NK for one in variant.members], axis=0),
        seeds=variant.seeds,
        trainings=len(variant.members),
    )


def note_on(label: str, expected: Collection[int], seeds: Collection[int]) -> str:
    """A sentence on seeds that were left out; "" where there are none."""
    absent = [str(seed) for seed in expected if seed not in seeds]
    if not absent:
        return ""
    one = len(absent) == 1
    those = f"seed{'' if one else 's'} {listed(absent)} of {counted(len(expected))}"
    lack = "lacks folds that others have and is" if one else "lack folds that others have and are"
    kept = f"{counted(len(seeds))} complete seed{'' if len(seeds) == 1 else 's'}"
    return f"{label}: {those} {lack} left out; its scores are of the {kept}."
