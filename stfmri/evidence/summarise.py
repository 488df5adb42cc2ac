"""From predictions to results: intervals, comparisons, tests, subgroups."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stfmri.evidence import metrics, subgroups
from stfmri.evidence.baselines.record import Baseline
from stfmri.evidence.cohort import Cohort
from stfmri.evidence.collected import Evidence
from stfmri.evidence.differences import compare
from stfmri.evidence.estimates import (
    PRIMARY,
    ChanceTest,
    Estimate,
    Results,
    Selection,
    Summary,
)
from stfmri.evidence.metrics import FloatArray, Metric
from stfmri.evidence.metrics.defined import mean_of_defined
from stfmri.evidence.predicted import Predicted
from stfmri.evidence.statistics import (
    PrecisionPlan,
    ProcedureVariance,
    against_chance,
    auc_interval,
    cluster_weights,
    confusion_draws,
    networks_interval,
    overlap_factor,
    precision_plan,
    procedure_interval,
    procedure_variance,
    reassigned_fold_scores,
    select_best,
    wilson,
)

IntArray = npt.NDArray[np.int64]
Values = dict[Metric, FloatArray]
# An interval narrower than this has no width but rounding.
FLAT = 1e-9
# Of very many variants the intervals of probability metrics come from fewer draws: the ends of an
# interval from 400 draws vary by a tenth of its width, and the time is a fifth.
MANY_VARIANTS, DRAWS_OF_MANY = 100, 400
AUC = metrics.by_name("macro_auc")


def _precision_interval(value: float, positives: int, _: int) -> FloatArray:
    """Of average precision, with the class's patients as trials (Boyd, Eng & Page 2013)."""
    return wilson(value * positives, positives)


# What takes the place of the draws where all of them agree.
WHERE_SEPARATED: dict[Metric, Callable[[float, int, int], FloatArray]] = {
    metrics.AUC: auc_interval,
    metrics.AVERAGE_PRECISION: _precision_interval,
}


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
    contributions = np.stack([draws.by_cluster(one) for one in everyone])
    drawn_DVKK = confusion_draws(contributions, draws.weights_DP)
    classes = evidence.cohort.classes
    score_draws = len(drawn_DVKK) if len(everyone) < MANY_VARIANTS else DRAWS_OF_MANY
    summaries = [
        _summary(
            one,
            drawn_DVKK[:, number],
            draws.weights_of(one, score_draws),
            classes,
            once=draws.once,
        )
        for number, one in enumerate(everyone)
    ]
    count = len(evidence.variants)
    leader = Results(evidence, tuple(summaries[:count]), ()).leader
    # Trainings can be compared on the same folds only: the leader's.
    full = everyone[0].folds if leader is None else leader.predicted.folds
    whole = [number for number, one in enumerate(everyone) if one.folds == full]
    counts = np.stack([draws.by_fold_and_cluster(everyone[number]) for number in whole])
    factor = overlap_factor(
        len(full), evidence.cohort.mean_train_size(), evidence.cohort.mean_test_size()
    )
    scores = np.stack([summaries[number].fold_scores for number in whole])
    drawn = np.stack([summaries[number].drawn_scores for number in whole], axis=1)
    reassigned = reassigned_fold_scores(counts, PRIMARY.of_counts)
    groups = _alike(evidence.kinds, [everyone[number] for number in whole])
    alone = variance_of(groups, scores, reassigned, factor, paired=False)
    pooled = np.array([summaries[number].primary.pooled for number in whole])
    ends = procedure_interval(pooled, drawn, alone)
    for position, number in enumerate(whole):
        summaries[number] = _with_procedure(summaries[number], *ends[:, position].tolist())
    results = Results(evidence, tuple(summaries[:count]), tuple(summaries[count:]))
    paired = variance_of(groups, scores, reassigned, factor, paired=True)
    names = [everyone[number].name for number in whole]
    results = replace(
        results,
        comparisons=compare(results, names, drawn, paired, contributions[whole], once=draws.once),
        chance=_chance([everyone[number] for number in whole], contributions[whole]),
    )
    return _look_closer(results, counts, names, draws, subgroup_columns)


def _alike(kinds: Mapping[str, Baseline], contestants: Sequence[Predicted]) -> list[list[int]]:
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


def _draw(cohort: Cohort, everyone: Sequence[Predicted]) -> Draws:
    cluster_S = cohort.cluster_of_tested
    clusters = int(cluster_S.max()) + 1
    tests = [np.bincount(cluster_S[one.subject_N]).max() for one in everyone]
    return Draws(cluster_S, cluster_weights(clusters), once=max(tests) <= 1)


def _summary(
    predicted: Predicted,
    drawn_DKK: FloatArray,
    weights_DN: npt.NDArray[np.float32],
    classes: Sequence[str],
    *,
    once: bool,
) -> Summary:
    """Estimate every metric of one variant or baseline.

    Args:
        drawn_DKK: its confusion matrix in each draw of patients.
        weights_DN: of its predictions, in the draws that metrics of probabilities use.
        once: whether each patient has one scan that was tested once.
    """
    over_folds, pooled, drawn = _values(predicted, drawn_DKK, weights_DN)
    per_class: dict[str, dict[str, Estimate]] = {name: {} for name in classes}
    overall = {}
    for metric in metrics.METRICS:
        ends = (
            wilson(*metric.proportion(predicted.pooled))
            if once and metric.proportion is not None
            else networks_interval(pooled[metric], drawn[metric])
        )
        of_class = metric.mean_of or metric
        if of_class in WHERE_SEPARATED:
            ends = _opened(ends, WHERE_SEPARATED[of_class], pooled[of_class], predicted)
        # One column a class; a single one of an overall metric.
        columns = (
            over_folds[metric].reshape(len(predicted.folds), -1).T,
            np.atleast_1d(pooled[metric]),
            *ends.reshape(2, -1),
        )
        found = [_estimate(*parts) for parts in zip(*columns, strict=True)]
        if metric.per_class:
            for name, estimate in zip(classes, found, strict=True):
                per_class[name][metric.name] = estimate
        else:
            overall[metric.name] = found[0]
    return Summary(predicted, per_class, overall, over_folds[PRIMARY], drawn[PRIMARY], drawn[AUC])


def _opened(
    ends: FloatArray,
    interval: Callable[[float, int, int], FloatArray],
    value_K: FloatArray,
    predicted: Predicted,
) -> FloatArray:
    """Intervals of a metric, or of its mean over classes, that have a width in any case.

    Whoever draws patients whose classes are told apart perfectly finds them told apart in each
    draw. There another interval takes the place of the draws.

    Args:
        ends: from the draws.
        interval: of a value, the number of patients of the class, and of others.
        value_K: the metric of each class.
    """
    low, high = ends
    if (high - low > FLAT).all():
        return ends
    subjects_K = [
        len(np.unique(predicted.subject_N[predicted.label_N == number]))
        for number in range(len(value_K))
    ]
    everyone = sum(subjects_K)
    opened = np.full((len(value_K), 2), math.nan)
    for number, (value, count) in enumerate(zip(value_K.tolist(), subjects_K, strict=True)):
        if 0 < count < everyone and not math.isnan(value):
            opened[number] = interval(value, count, everyone - count)
    if low.ndim == 0:
        return mean_of_defined(opened.T)
    return np.where(high - low > FLAT, ends, opened.T)


def _values(
    predicted: Predicted, drawn_DKK: FloatArray, weights_DN: npt.NDArray[np.float32]
) -> tuple[Values, Values, Values]:
    """Every metric of each fold, of all folds together, and in each draw."""
    # In one pass, since most of the time is spent on ranking: all predictions, those of each fold
    # alone, and the draws.
    folds = len(predicted.folds)
    in_fold_NF = predicted.fold_N[:, np.newaxis] == np.array(predicted.folds)
    plain_NW = np.hstack([np.ones((len(in_fold_NF), 1), dtype=bool), in_fold_NF])
    weights_WN = np.hstack([plain_NW.astype(weights_DN.dtype), weights_DN.T]).T
    values = metrics.of_scores(predicted.scores, weights_WN)
    pooled = {metric: np.asarray(value[0]) for metric, value in values.items()}
    over_folds = {metric: value[1 : 1 + folds] for metric, value in values.items()}
    drawn = {metric: value[1 + folds :] for metric, value in values.items()}
    for metric in metrics.METRICS:
        if metric.from_counts is not None:
            over_folds[metric] = metric.of_counts(predicted.fold_confusions)
            pooled[metric] = metric.of_counts(predicted.pooled)
            drawn[metric] = metric.of_counts(drawn_DKK)
    return over_folds, pooled, drawn


def _estimate(over_folds: FloatArray, pooled: float, low: float, high: float) -> Estimate:
    """Over the folds in which the metric is defined, as everywhere."""
    defined = over_folds[~np.isnan(over_folds)]
    mean = float(defined.mean()) if defined.size else math.nan
    sd = float(defined.std(ddof=1)) if defined.size > 1 else math.nan
    return Estimate(mean, sd, float(pooled), float(low), float(high))


def _with_procedure(summary: Summary, low: float, high: float) -> Summary:
    """With the interval of the training procedure, which holds that of these networks."""
    estimate = summary.primary
    if not math.isnan(low):
        low, high = min(low, estimate.low), max(high, estimate.high)
    wider = replace(estimate, procedure_low=low, procedure_high=high)
    return replace(summary, overall={**summary.overall, PRIMARY.name: wider})


def _chance(everyone: Sequence[Predicted], contributions: IntArray) -> dict[str, ChanceTest]:
    """Whether predictions go with the patients that they were made for."""
    tested = against_chance(contributions, PRIMARY.of_counts)
    return {
        one.name: ChanceTest(float(mean), float(p))
        for one, mean, p in zip(everyone, tested.mean, tested.p_adjusted, strict=True)
    }


def _look_closer(
    results: Results, counts: IntArray, names: Sequence[str], draws: Draws, columns: Sequence[str]
) -> Results:
    """Selection, subgroups and precision: all of the leader.

    Args:
        counts: shape (V, F, P, K, K), of the contestants `names`.
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
    chosen = [number for number, name in enumerate(names) if name in rivals]
    return replace(
        results,
        selection=_selection(leader, counts[chosen]),
        within=subgroups.within_sources(leader.predicted, cohort, draws.weights_DP),
        subgroups=scores,
        plan=_plan(leader, cohort),
    )


def _selection(leader: Summary, counts: IntArray) -> Selection | None:
    """The leader's score, corrected for having been chosen among variants on the same folds."""
    if len(counts) < 2:
        return None
    of_procedure = not math.isnan(leader.primary.procedure_low)
    selected = select_best(counts, PRIMARY.of_counts, resample_folds=of_procedure)
    estimate = leader.primary
    ends = (
        (estimate.procedure_low, estimate.procedure_high)
        if of_procedure
        else (estimate.low, estimate.high)
    )
    low, high = selected.interval(ends)
    return Selection(
        selected.corrected, float(low), float(high), of_procedure, candidates=len(counts)
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
