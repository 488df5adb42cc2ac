"""From counts to estimates: mean and spread over folds, and an interval from the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from stfmri.evidence import metrics
from stfmri.evidence.metrics import FloatArray
from stfmri.evidence.statistics import (
    PatientBootstrap,
    corrected_resampled_t_test,
    holm,
    interval,
)
from stfmri.evidence.tallies import Evidence, Tally

# All pairs of variants are compared up to this many variants, beyond it only the leader with
# each other one: 12 make 66 pairs.
ALL_PAIRS = 12


@dataclass(frozen=True)
class Estimate:
    """One metric of one variant; NaN where undefined.

    `mean` and `sd` (ddof 1) are over the folds, `pooled` is the metric of the confusion matrix
    summed over folds, and `low`–`high` the 95 % bootstrap interval of `pooled`.
    """

    mean: float
    sd: float
    low: float
    high: float
    pooled: float


@dataclass(frozen=True)
class Summary:
    """All estimates of one variant or baseline, and the draws of macro F1 for comparisons."""

    tally: Tally
    per_class: Mapping[str, Mapping[str, Estimate]]
    overall: Mapping[str, Estimate]
    fold_macro_f1: FloatArray
    drawn_macro_f1: FloatArray


@dataclass(frozen=True)
class Comparison:
    """Macro F1 of `a` minus that of `b`.

    `mean_difference`, `t`, `df` and `p` belong to the corrected resampled t-test over folds,
    `p_holm` is corrected over the comparisons of the same kind; `pooled_difference` and `low`–
    `high` to the bootstrap over patients, paired by patient.
    """

    a: str
    b: str
    kind: str  # "variants", or "baseline" where b is one
    folds: int
    mean_difference: float
    t: float
    df: int
    p: float
    p_holm: float
    pooled_difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Results:
    """What the sweep says."""

    evidence: Evidence
    variants: tuple[Summary, ...]
    baselines: Mapping[str, Summary]
    comparisons: tuple[Comparison, ...]

    @property
    def leader(self) -> Summary | None:
        """The variant of the highest mean macro F1 over folds; complete ones go first."""
        ranked = self.ranked()
        return ranked[0] if ranked else None

    def ranked(self) -> list[Summary]:
        """Variants, best first: by number of folds, then by mean macro F1."""
        return sorted(
            self.variants,
            key=lambda summary: (
                -len(summary.tally.folds),
                -np.nan_to_num(summary.overall["macro_f1"].mean, nan=-1.0),
            ),
        )


def summarise(evidence: Evidence) -> Results:
    """Estimate every metric of every variant and baseline, and compare them."""
    bootstrap = PatientBootstrap(len(evidence.cohort.patient_index))
    classes = evidence.cohort.classes
    variants = tuple(_summary(tally, classes, bootstrap) for tally in evidence.variants)
    baselines = {tally.name: _summary(tally, classes, bootstrap) for tally in evidence.baselines}
    results = Results(evidence, variants, baselines, ())
    return Results(evidence, variants, baselines, _comparisons(results))


def as_json(results: Results) -> dict[str, Any]:
    """The content of `summary.json`; undefined values are None."""
    evidence = results.evidence
    leader = results.leader
    return {
        "sweep": evidence.sweep,
        "note": evidence.note,
        "complete": not evidence.missing,
        "missing": evidence.missing,
        "classes": list(evidence.cohort.classes),
        "leader": leader.tally.name if leader else None,
        "variants": {summary.tally.name: _summary_json(summary) for summary in results.variants},
        "baselines": {name: _summary_json(item) for name, item in results.baselines.items()},
        "comparisons": [_comparison_json(item) for item in results.comparisons],
    }


def _summary(tally: Tally, classes: Sequence[str], bootstrap: PatientBootstrap) -> Summary:
    """Estimate every metric of one variant."""
    folds = np.stack(tally.fold_confusions)
    drawn = bootstrap.confusions(tally.patient_confusions)
    overall = {
        metric.name: _estimate(of(folds), of(tally.pooled), of(drawn))
        for metric in metrics.overall()
        if (of := metric.from_counts)
    }
    per_class: dict[str, dict[str, Estimate]] = {name: {} for name in classes}
    for metric in metrics.per_class():
        if not (of := metric.from_counts):
            continue
        over_folds, pooled, over_draws = of(folds), of(tally.pooled), of(drawn)
        ends = interval(over_draws)
        for number, name in enumerate(classes):
            per_class[name][metric.name] = _from_parts(
                over_folds[:, number], pooled[number], ends[:, number]
            )
    return Summary(tally, per_class, overall, metrics.macro_f1(folds), metrics.macro_f1(drawn))


def _estimate(over_folds: FloatArray, pooled: FloatArray, over_draws: FloatArray) -> Estimate:
    return _from_parts(over_folds, pooled, interval(over_draws))


def _from_parts(over_folds: FloatArray, pooled: npt.ArrayLike, ends: FloatArray) -> Estimate:
    """Mean and sd are undefined where any fold's value is: a mean of fewer folds would flatter."""
    sd = float(over_folds.std(ddof=1)) if over_folds.size > 1 else math.nan
    return Estimate(
        mean=float(over_folds.mean()),
        sd=sd,
        low=float(ends[0]),
        high=float(ends[1]),
        pooled=float(np.asarray(pooled)),
    )


def _comparisons(results: Results) -> tuple[Comparison, ...]:
    """Variants with each other, better one first, then each with each baseline."""
    ranked = results.ranked()
    if len(ranked) <= ALL_PAIRS:
        pairs = list(combinations(ranked, 2))
    else:
        pairs = [(ranked[0], other) for other in ranked[1:]]
    between = [_compare(a, b, "variants", results) for a, b in pairs]
    families = [between] + [
        [_compare(a, baseline, "baseline", results) for a in ranked]
        for baseline in results.baselines.values()
    ]
    return tuple(item for family in families for item in _with_holm([one for one in family if one]))


def _compare(a: Summary, b: Summary, kind: str, results: Results) -> Comparison | None:
    """Compare two variants that were tested on the same folds; None where they were not."""
    if sorted(a.tally.folds) != sorted(b.tally.folds):
        return None
    cohort = results.evidence.cohort
    by_fold_a = dict(zip(a.tally.folds, a.fold_macro_f1, strict=True))
    by_fold_b = dict(zip(b.tally.folds, b.fold_macro_f1, strict=True))
    differences = np.array([by_fold_a[fold] - by_fold_b[fold] for fold in sorted(by_fold_a)])
    test = corrected_resampled_t_test(
        differences, cohort.mean_train_size(), cohort.mean_test_size()
    )
    low, high = interval(a.drawn_macro_f1 - b.drawn_macro_f1)
    return Comparison(
        a=a.tally.name,
        b=b.tally.name,
        kind=kind,
        folds=len(differences),
        mean_difference=float(differences.mean()),
        t=test.t,
        df=test.degrees_of_freedom,
        p=test.p,
        p_holm=math.nan,
        pooled_difference=a.overall["macro_f1"].pooled - b.overall["macro_f1"].pooled,
        low=float(low),
        high=float(high),
    )


def _with_holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct the p-values of one family of tests."""
    corrected = holm([item.p for item in comparisons])
    return [
        Comparison(**{**vars(item), "p_holm": float(p)})
        for item, p in zip(comparisons, corrected, strict=True)
    ]


def _summary_json(summary: Summary) -> dict[str, Any]:
    tally = summary.tally
    by_fold = dict(zip(tally.folds, tally.fold_confusions, strict=True))
    return {
        "label": tally.label,
        "folds": len(tally.folds),
        "confusion": tally.pooled.tolist(),
        "confusion_per_fold": [by_fold[fold].tolist() for fold in sorted(by_fold)],
        "per_class": {
            name: {metric: _estimate_json(item) for metric, item in estimates.items()}
            for name, estimates in summary.per_class.items()
        },
        **{metric: _estimate_json(item) for metric, item in summary.overall.items()},
    }


def _estimate_json(estimate: Estimate) -> dict[str, Any]:
    return {
        "mean": _or_none(estimate.mean),
        "sd": _or_none(estimate.sd),
        "ci95": [_or_none(estimate.low), _or_none(estimate.high)],
        "pooled": _or_none(estimate.pooled),
    }


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "a": comparison.a,
        "b": comparison.b,
        "kind": comparison.kind,
        "metric": "macro_f1",
        "folds": comparison.folds,
        "mean_difference": _or_none(comparison.mean_difference),
        "t": _or_none(comparison.t),
        "df": comparison.df,
        "p": _or_none(comparison.p),
        "p_holm": _or_none(comparison.p_holm),
        "pooled_difference": _or_none(comparison.pooled_difference),
        "ci95": [_or_none(comparison.low), _or_none(comparison.high)],
    }


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
