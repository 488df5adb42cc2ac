"""Differences between variants, and between variants and baselines.

What the report says rests on the simultaneous intervals of a family alone. The further tests stand
beside them because readers of other papers look for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from stfmri.evidence.cohort import Cohort
from stfmri.evidence.contest import Contest
from stfmri.evidence.estimates import PRIMARY, Comparison, Results, Summary
from stfmri.evidence.predicted import Predicted
from stfmri.evidence.statistics import (
    Family,
    ProcedureVariance,
    against,
    all_pairs,
    cohens_h,
    corrected_resampled_t_test,
    delong,
    holm,
    mcnemar,
    networks_family,
    patients_degrees_of_freedom,
    procedures_family,
)

# All pairs of variants are listed up to this many variants, beyond it only the leader with each
# other one: 12 make 66 pairs. The intervals allow for all pairs in either case.
ALL_PAIRS = 12
WIDEST = PRIMARY.bounds[1] - PRIMARY.bounds[0]


def compare(results: Results, contest: Contest, *, once: bool) -> tuple[Comparison, ...]:
    """Both families: variants with each other, better one first, and with each baseline.

    Args:
        contest: those that are compared; of several seeds, their mean.
        once: whether each patient has one scan that was tested once.
    """
    names, pooled, drawn_DV = contest.names, contest.pooled, contest.drawn
    number = {name: position for position, name in enumerate(names)}
    by_name = {summary.predicted.name: summary for summary in results.everyone}
    variance = contest.variance(paired=True)
    of_procedure = not np.isnan(variance.observed).any()
    freedom = patients_degrees_of_freedom(contest.contributions)
    kinds = results.evidence.kinds

    def present(summaries: Sequence[Summary]) -> list[int]:
        known = (number.get(summary.predicted.name) for summary in summaries)
        return [position for position in known if position is not None]

    variants = present(results.ranked)
    baselines = present(
        [one for one in results.baselines if not kinds[one.predicted.name].is_control]
    )
    found: list[Comparison] = []
    for name, order, pairs in (
        ("variants", variants, all_pairs(len(variants))),
        ("baselines", variants + baselines, against(len(variants), len(baselines))),
    ):
        if not len(pairs):
            continue
        columns = np.array(order)
        networks = networks_family(pooled[columns], drawn_DV[:, columns], pairs, freedom)
        family = (
            procedures_family(
                pooled[columns], drawn_DV[:, columns], _part(variance, columns), pairs
            )
            if of_procedure
            else networks
        )
        listed = [by_name[names[position]] for position in order]
        few = name == "baselines" or len(variants) <= ALL_PAIRS
        rows = [row for row in range(len(pairs)) if few or pairs[row][0] == 0]
        found += _with_holm(
            [
                _comparison(
                    family,
                    networks,
                    row,
                    listed,
                    results.evidence.cohort,
                    once=once,
                    name=name,
                    of_procedure=of_procedure,
                )
                for row in rows
            ]
        )
    return tuple(found)


def _part(variance: ProcedureVariance, columns: npt.NDArray[np.intp]) -> ProcedureVariance:
    """The variance of some of the contestants."""
    return ProcedureVariance(
        variance.observed[columns],
        variance.explained[columns],
        np.broadcast_to(variance.degrees_of_freedom, variance.observed.shape)[columns],
        variance.factor,
    )


def _comparison(
    family: Family,
    networks: Family,
    row: int,
    listed: Sequence[Summary],
    cohort: Cohort,
    *,
    once: bool,
    name: str,
    of_procedure: bool,
) -> Comparison:
    """One difference of a family, with the further tests of it."""
    a, b = (listed[position] for position in family.pairs[row])
    test = corrected_resampled_t_test(
        a.fold_scores - b.fold_scores,
        cohort.mean_train_size(a.predicted.train_fraction),
        cohort.mean_test_size(),
    )
    is_single = not (a.predicted.members or b.predicted.members)
    right_a, right_b = _right_by_subject(a.predicted), _right_by_subject(b.predicted)
    auc_difference, auc_p = _auc_test(a, b, once=once and is_single)
    return Comparison(
        a=a.predicted.name,
        b=b.predicted.name,
        family=name,
        of_procedure=of_procedure,
        difference=float(family.difference[row]),
        # No difference can be larger than the range of the score.
        low=max(float(family.low[row]), -WIDEST),
        high=min(float(family.high[row]), WIDEST),
        p=float(family.p[row]),
        networks_low=max(float(networks.low[row]), -WIDEST),
        networks_high=min(float(networks.high[row]), WIDEST),
        effect=float(cohens_h(right_a.mean(), right_b.mean())),
        t_test_p=test.p,
        # Of several seeds a patient has several predictions.
        mcnemar_p=mcnemar(right_a, right_b).p if once and is_single else math.nan,
        auc_difference=auc_difference,
        auc_p=auc_p,
    )


def _right_by_subject(predicted: Predicted) -> npt.NDArray[np.bool_]:
    """Whether each prediction is right, in an order that all variants share."""
    order = np.lexsort((predicted.fold_N, predicted.subject_N))
    return (predicted.prediction_N == predicted.label_N)[order]


def _auc_test(a: Summary, b: Summary, *, once: bool) -> tuple[float, float]:
    """Difference of the macro AUCs and its two-sided p, for these trained networks.

    DeLong's test where there are two classes and each patient is tested once, the folds being
    independent then; else the paired draws of patients.
    """
    difference = a.overall["macro_auc"].pooled - b.overall["macro_auc"].pooled
    two_classes = a.predicted.probability_NK.shape[1] == 2
    error = (
        _delong_error(a.predicted, b.predicted)
        if once and two_classes
        else float(np.nanstd(a.drawn_auc - b.drawn_auc))
        if np.isfinite(a.drawn_auc - b.drawn_auc).any()
        else math.nan
    )
    if math.isnan(difference) or math.isnan(error):
        return difference, math.nan
    if error < 1e-12:
        return difference, 1.0 if abs(difference) < 1e-12 else math.nan
    return difference, float(2 * stats.norm.sf(abs(difference) / error))


def _delong_error(a: Predicted, b: Predicted) -> float:
    """Standard error of the difference of two mean AUCs over independent folds."""
    contrast = np.array([1.0, -1.0])
    variances = []
    for fold in a.folds:
        of_a, of_b = a.scores.of_fold(fold), b.scores.of_fold(fold)
        positive = of_a.label_N == 1
        if positive.all() or not positive.any():
            continue
        scores = np.stack([of_a.probability_NK[:, 1], of_b.probability_NK[:, 1]])
        variances.append(float(contrast @ delong(positive, scores).covariance @ contrast))
    return math.sqrt(max(sum(variances), 0.0)) / len(variances) if variances else math.nan


def _with_holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct the p-values of the further tests within one family."""
    t_test, of_mcnemar, of_auc = (
        holm([getattr(item, name) for item in comparisons]).tolist()
        for name in ("t_test_p", "mcnemar_p", "auc_p")
    )
    return [
        replace(item, t_test_p_holm=p_t, mcnemar_p_holm=p_mcnemar, auc_p_holm=p_auc)
        for item, p_t, p_mcnemar, p_auc in zip(comparisons, t_test, of_mcnemar, of_auc, strict=True)
    ]
