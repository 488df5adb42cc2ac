"""From predictions to results: intervals, comparisons, tests, subgroups."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stfmri.evidence import subgroups
from stfmri.evidence.cohort import Cohort
from stfmri.evidence.collected import Evidence
from stfmri.evidence.contest import Contest, IntArray, alike, owners
from stfmri.evidence.differences import compare
from stfmri.evidence.estimates import PRIMARY, ChanceTest, Results, Selection, Summary
from stfmri.evidence.estimating import summary_of
from stfmri.evidence.predicted import Predicted
from stfmri.evidence.statistics import (
    PrecisionPlan,
    against_chance,
    cluster_weights,
    confusion_draws,
    double_use,
    overlap_factor,
    precision_plan,
    procedure_interval,
    select_best,
)

# Of very many variants the intervals of probability metrics come from fewer draws: the ends of an
# interval from 400 draws vary by a tenth of its width, and the time is a fifth.
MANY_VARIANTS, DRAWS_OF_MANY = 100, 400


@dataclass(frozen=True)
class Draws:
    """The draws of patients that everything is computed from.

    Attributes:
        cluster_S: number of the cluster of each tested subject.
        weights_DP: of the clusters in each draw, the same for all.
        once: whether each cluster has one scan that is tested once, so that a share of right
            predictions is a plain proportion.
    """

    cluster_S: IntArray
    weights_DP: npt.NDArray[np.float32]
    once: bool

    @property
    def clusters(self) -> int:
        """Their number P."""
        return self.weights_DP.shape[1]

    def weights_of(self, predicted: Predicted, draws: int) -> npt.NDArray[np.float32]:
        """The weight of each prediction in each of the first draws, shape (D, N)."""
        # Of the transpose, whose rows are contiguous: metrics go through predictions one by one.
        return self.weights_DP[:draws].T[self.cluster_S[predicted.subject_N]].T

    def by_cluster(self, predicted: Predicted) -> IntArray:
        """The confusion matrix of each cluster's predictions, shape (P, K, K)."""
        return predicted.confusions_by(self.cluster_S[predicted.subject_N], self.clusters)

    def by_fold_and_cluster(self, predicted: Predicted) -> IntArray:
        """The same for each fold, shape (F, P, K, K)."""
        fold_N = np.searchsorted(predicted.folds, predicted.fold_N)
        group_N = fold_N * self.clusters + self.cluster_S[predicted.subject_N]
        counts = predicted.confusions_by(group_N, len(predicted.folds) * self.clusters)
        return counts.reshape(len(predicted.folds), self.clusters, *counts.shape[1:])


def summarise(evidence: Evidence, subgroup_columns: Sequence[str] = ()) -> Results:
    """Estimate every metric of every variant and baseline, compare them, and test the leader.

    Args:
        subgroup_columns: of the cohort table, to score group by group; source, sex and age are
            looked at without being named.
    """
    everyone = (*evidence.variants, *evidence.baselines)
    if not everyone:
        return Results(evidence, (), ())
    draws = _draw(evidence.cohort, everyone)
    owner_M = owners(everyone)
    contributions = np.stack([draws.by_cluster(one) for all_ in everyone for one in all_.networks])
    # Of its name, so that its draws are the same whoever else there is.
    streams = [zlib.crc32(one.name.encode()) for one in everyone for _ in one.networks]
    drawn_DMKK = confusion_draws(contributions, draws.weights_DP, streams=streams)
    classes = evidence.cohort.classes
    score_draws = len(drawn_DMKK) if len(everyone) < MANY_VARIANTS else DRAWS_OF_MANY
    summaries = [
        summary_of(
            one,
            drawn_DMKK[:, owner_M == number].swapaxes(0, 1),
            draws.weights_of(one.networks[0], score_draws),
            classes,
            once=draws.once,
        )
        for number, one in enumerate(everyone)
    ]
    sizes = sorted({one.train_fraction for one in evidence.variants or everyone})
    for size in sizes:
        summaries, contest = _with_procedures(evidence, summaries, draws, size)
    # Who is best, and what follows, is asked of those that trained on most subjects.
    count = len(evidence.variants)
    results = Results(evidence, tuple(summaries[:count]), tuple(summaries[count:]))
    results = replace(
        results,
        comparisons=compare(results, contest, once=draws.once),
        chance=_chance(contest),
    )
    return _look_closer(results, contest, draws, subgroup_columns)


def _with_procedures(
    evidence: Evidence, summaries: Sequence[Summary], draws: Draws, fraction: float
) -> tuple[list[Summary], Contest]:
    """The summaries, with intervals for networks trained anew on this part of the training set.

    Trainings can be compared on the same folds only: those of the best variant that trained on so
    many.
    """
    cohort = evidence.cohort
    count = len(evidence.variants)
    of_size = [
        number for number, one in enumerate(summaries) if one.predicted.train_fraction == fraction
    ]
    variants = tuple(summaries[number] for number in of_size if number < count)
    leader = Results(evidence, variants, ()).leader
    folds = (leader or summaries[of_size[0]]).predicted.folds
    whole = [number for number in of_size if summaries[number].predicted.folds == folds]
    contestants = [summaries[number].predicted for number in whole]
    counts = [draws.by_fold_and_cluster(one) for all_ in contestants for one in all_.networks]
    factor = overlap_factor(len(folds), cohort.mean_train_size(fraction), cohort.mean_test_size())
    groups = alike(evidence.kinds, contestants)
    found = Contest(tuple(summaries[number] for number in whole), np.stack(counts), groups, factor)
    ends = procedure_interval(found.pooled, found.drawn, found.variance(paired=False))
    updated = list(summaries)
    for position, number in enumerate(whole):
        updated[number] = _with_procedure(updated[number], *ends[:, position].tolist())
    return updated, found


def _draw(cohort: Cohort, everyone: Sequence[Predicted]) -> Draws:
    cluster_S = cohort.cluster_of_tested
    clusters = int(cluster_S.max()) + 1
    networks = [network for one in everyone for network in one.networks]
    tests = [np.bincount(cluster_S[one.subject_N]).max() for one in networks]
    return Draws(cluster_S, cluster_weights(clusters), once=max(tests) <= 1)


def _with_procedure(summary: Summary, low: float, high: float) -> Summary:
    """With the interval of the training procedure, which holds that of these networks."""
    estimate = summary.primary
    if not math.isnan(low):
        low, high = min(low, estimate.low), max(high, estimate.high)
    wider = replace(estimate, procedure_low=low, procedure_high=high)
    return replace(summary, overall={**summary.overall, PRIMARY.name: wider})


def _chance(contest: Contest) -> dict[str, ChanceTest]:
    """Whether predictions go with the patients that they were made for."""
    ratio = double_use(contest.counts.any(axis=(0, 3, 4)))
    found = against_chance(contest.contributions, contest.score, variance_ratio=ratio)
    return {
        name: ChanceTest(float(mean), float(p), math.sqrt(ratio))
        for name, mean, p in zip(contest.names, found.mean, found.p_adjusted, strict=True)
    }


def _look_closer(
    results: Results, contest: Contest, draws: Draws, columns: Sequence[str]
) -> Results:
    """Selection, subgroups and precision: all of the leader.

    Args:
        contest: the leader's.
    """
    leader = results.leader
    if leader is None:
        return results
    cohort = results.evidence.cohort
    image = results.best_baseline(sees_images=True)
    scores = {
        summary.predicted.label: [
            score
            for column in subgroups.columns_of(cohort, columns)
            for score in subgroups.group_scores(summary.predicted, cohort, column, draws.weights_DP)
        ]
        for summary in filter(None, (leader, image))
    }
    rivals = {one.predicted.name for one in results.variants}
    chosen = [number for number, name in enumerate(contest.names) if name in rivals]
    return replace(
        results,
        selection=_selection(leader, contest.part(chosen)),
        within=subgroups.within_sources(leader.predicted, cohort, draws.weights_DP),
        subgroups=scores,
        plan=_plan(leader, cohort),
    )


def _selection(leader: Summary, rivals: Contest) -> Selection | None:
    """The leader's score, corrected for having been chosen among variants on the same folds."""
    if len(rivals.summaries) < 2:
        return None
    of_procedure = not math.isnan(leader.primary.procedure_low)
    selected = select_best(rivals.counts, rivals.score, resample_folds=of_procedure)
    estimate = leader.primary
    ends = (
        (estimate.procedure_low, estimate.procedure_high)
        if of_procedure
        else (estimate.low, estimate.high)
    )
    low, high = selected.interval(ends)
    return Selection(
        selected.corrected, float(low), float(high), of_procedure, candidates=len(rivals.summaries)
    )


def _plan(leader: Summary, cohort: Cohort) -> PrecisionPlan:
    """How many more patients would halve the leader's interval."""
    estimate = leader.primary
    patients = {cohort.subjects[name].patient_id for name in cohort.tested}
    return precision_plan(
        len(patients),
        (estimate.high - estimate.low) / 2,
        (estimate.procedure_high - estimate.procedure_low) / 2,
    )
