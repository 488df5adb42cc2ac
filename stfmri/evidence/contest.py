"""Those who were tested on the same folds after training on as many subjects: what they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stfmri.evidence.baselines.record import Baseline
from stfmri.evidence.estimates import PRIMARY, Summary
from stfmri.evidence.metrics import FloatArray
from stfmri.evidence.predicted import Predicted
from stfmri.evidence.statistics import (
    ProcedureVariance,
    procedure_variance,
    reassigned_fold_scores,
    score_over_seeds,
)
from stfmri.evidence.statistics.bootstrap import Score

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Contest:
    """V variants and baselines on the same k folds, each of one training or of several.

    Attributes:
        summaries: of the contestants.
        counts: shape (M, k, P, K, K), of all M trainings, those of a contestant together: the
            confusion matrix of each cluster's predictions, by fold.
        groups: positions of contestants whose training may vary alike.
        factor: of `overlap_factor`.
    """

    summaries: tuple[Summary, ...]
    counts: IntArray
    groups: Sequence[Sequence[int]]
    factor: float

    @property
    def names(self) -> list[str]:
        """Of the contestants."""
        return [summary.predicted.name for summary in self.summaries]

    @property
    def contributions(self) -> IntArray:
        """The counts over all folds, shape (M, P, K, K)."""
        return self.counts.sum(axis=1)

    @cached_property
    def owner_M(self) -> npt.NDArray[np.intp]:
        """Position of the contestant of each training."""
        return owners([summary.predicted for summary in self.summaries])

    @property
    def score(self) -> Score:
        """The primary metric of the contestants, from matrices of their trainings."""
        return score_over_seeds(PRIMARY.of_counts, self.owner_M)

    @cached_property
    def fold_scores(self) -> FloatArray:
        """The primary metric of each fold, shape (V, k)."""
        return np.stack([summary.fold_scores for summary in self.summaries])

    @cached_property
    def pooled(self) -> FloatArray:
        """The primary metric over all folds, shape (V,)."""
        return np.array([summary.primary.pooled for summary in self.summaries])

    @cached_property
    def drawn(self) -> FloatArray:
        """The same in each draw of patients, shape (D, V)."""
        return np.stack([summary.drawn_scores for summary in self.summaries], axis=1)

    @cached_property
    def reassigned(self) -> FloatArray:
        """Scores of folds to which patients were dealt out anew, shape (times, V, k)."""
        return reassigned_fold_scores(self.counts, self.score)

    def variance(self, *, paired: bool) -> ProcedureVariance:
        """The variance over trainings of the contestants, for differences where paired."""
        return variance_of(
            self.groups, self.fold_scores, self.reassigned, self.factor, paired=paired
        )

    def part(self, positions: Sequence[int]) -> Contest:
        """The contest of some of them."""
        new = {old: number for number, old in enumerate(positions)}
        groups = [[new[one] for one in group if one in new] for group in self.groups]
        return Contest(
            tuple(self.summaries[position] for position in positions),
            np.concatenate([self.counts[self.owner_M == position] for position in positions]),
            [group for group in groups if group],
            self.factor,
        )


def owners(contestants: Sequence[Predicted]) -> npt.NDArray[np.intp]:
    """The position of the contestant of each of all trainings, rising from 0."""
    sizes = [len(one.networks) for one in contestants]
    return np.repeat(np.arange(len(contestants)), sizes)


def alike(kinds: Mapping[str, Baseline], contestants: Sequence[Predicted]) -> list[list[int]]:
    """Positions of the networks, of the baselines that are fitted, and of the look-ups.

    How much a score varies with training is moderated within such a group: a look-up that always
    says the same does not show that networks vary little.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for position, one in enumerate(contestants):
        kind = kinds.get(one.name) if one.kind == "baseline" else None
        groups["network" if kind is None else f"look-up: {kind.is_lookup}"].append(position)
    return list(groups.values())


def variance_of(
    groups: Sequence[Sequence[int]],
    scores: FloatArray,
    reassigned: FloatArray,
    factor: float,
    *,
    paired: bool,
) -> ProcedureVariance:
    """The variance over trainings of all contestants, each moderated by those of its group.

    Args:
        groups: positions of contestants that are alike.
        scores: shape (V, F), of each contestant in each fold.
        reassigned: shape (times, V, F), of `reassigned_fold_scores`.
        factor: of `overlap_factor`.
        paired: for differences; a contestant that is alone in its group keeps what all have in
            common in a fold, which makes its intervals wider.
    """
    observed, explained, freedom = np.empty((3, len(scores)))
    for group in groups:
        found = procedure_variance(
            scores[group], reassigned[:, group], factor, paired=paired and len(group) > 1
        )
        observed[group], explained[group] = found.observed, found.explained
        freedom[group] = found.degrees_of_freedom
    return ProcedureVariance(observed, explained, freedom, factor)
