"""Every metric of one variant or baseline, with its intervals, from predictions and draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stfmri.evidence import metrics
from stfmri.evidence.estimates import PRIMARY, Estimate, Summary
from stfmri.evidence.metrics import METRICS, FloatArray, Metric
from stfmri.evidence.metrics.defined import mean_of_defined
from stfmri.evidence.predicted import Predicted
from stfmri.evidence.statistics import (
    FLAT,
    auc_interval,
    draws_of_one,
    mean_over_seeds,
    networks_interval,
    spread_parts,
    wilson,
)

Values = dict[Metric, FloatArray]
AUC = metrics.by_name("macro_auc")


def _precision_interval(value: float, positives: int, _: int) -> FloatArray:
    """Of average precision, with the class's patients as trials (Boyd, Eng & Page 2013)."""
    return wilson(value * positives, positives)


# What takes the place of the draws where all of them agree.
WHERE_SEPARATED: dict[Metric, Callable[[float, int, int], FloatArray]] = {
    metrics.AUC: auc_interval,
    metrics.AVERAGE_PRECISION: _precision_interval,
}


def summary_of(
    predicted: Predicted,
    drawn_SDKK: FloatArray,
    weights_DN: npt.NDArray[np.float32],
    classes: Sequence[str],
    *,
    once: bool,
) -> Summary:
    """Estimate every metric of one variant or baseline, the mean over its seeds.

    Args:
        drawn_SDKK: the confusion matrix of each of its trainings in each draw of patients.
        weights_DN: of the predictions of one training, in the draws that metrics of probabilities
            use.
        once: whether each patient has one scan that was tested once.
    """
    trained = [
        _values(one, drawn_DKK, weights_DN)
        for one, drawn_DKK in zip(predicted.networks, drawn_SDKK, strict=True)
    ]
    per_class: dict[str, dict[str, Estimate]] = {name: {} for name in classes}
    overall = {}
    pooled = {one: mean_over_seeds([values.pooled[one] for values in trained]) for one in METRICS}
    for metric in METRICS:
        scores_SF = np.stack([values.over_folds[metric] for values in trained])
        ends = (
            _wilson(metric, predicted)
            if once and metric.proportion is not None
            else networks_interval(
                pooled[metric], draws_of_one([values.drawn[metric] for values in trained])
            ).clip(*metric.bounds)
        )
        of_class = metric.mean_of or metric
        if of_class in WHERE_SEPARATED:
            ends = _opened(ends, WHERE_SEPARATED[of_class], pooled[of_class], predicted)
        # One column a class; a single one of an overall metric.
        columns = (
            np.moveaxis(scores_SF.reshape(*scores_SF.shape[:2], -1), -1, 0),
            np.atleast_1d(pooled[metric]),
            *ends.reshape(2, -1),
        )
        found = [_estimate(*parts) for parts in zip(*columns, strict=True)]
        if metric.per_class:
            for name, estimate in zip(classes, found, strict=True):
                per_class[name][metric.name] = estimate
        else:
            overall[metric.name] = found[0]
    return Summary(
        predicted,
        per_class,
        overall,
        mean_over_seeds([values.over_folds[PRIMARY] for values in trained]),
        mean_over_seeds([values.drawn[PRIMARY] for values in trained]),
        mean_over_seeds([values.drawn[AUC] for values in trained]),
        np.stack([values.over_folds[PRIMARY] for values in trained]),
    )


def _wilson(metric: Metric, predicted: Predicted) -> FloatArray:
    """Wilson's interval of a share; of several seeds their mean share of as many patients."""
    assert metric.proportion is not None
    shares = [metric.proportion(one.pooled) for one in predicted.networks]
    right, total = (mean_over_seeds(numbers) for numbers in zip(*shares, strict=True))
    return wilson(right, total)


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


@dataclass(frozen=True)
class _Values:
    """Every metric of one training: of each fold, of all folds together, and in each draw."""

    over_folds: Values
    pooled: Values
    drawn: Values


def _values(
    predicted: Predicted, drawn_DKK: FloatArray, weights_DN: npt.NDArray[np.float32]
) -> _Values:
    """Compute every metric of one training."""
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
    for metric in METRICS:
        if metric.from_counts is not None:
            over_folds[metric] = metric.of_counts(predicted.fold_confusions)
            pooled[metric] = metric.of_counts(predicted.pooled)
            drawn[metric] = metric.of_counts(drawn_DKK)
    return _Values(over_folds, pooled, drawn)


def _estimate(scores_SF: FloatArray, pooled: float, low: float, high: float) -> Estimate:
    """Over the folds in which the metric is defined, as everywhere.

    Args:
        scores_SF: of each seed in each fold.
    """
    over_folds = mean_over_seeds(scores_SF)
    defined = over_folds[~np.isnan(over_folds)]
    mean = float(defined.mean()) if defined.size else math.nan
    sd = float(defined.std(ddof=1)) if defined.size > 1 else math.nan
    between = spread_parts(scores_SF).over_seeds
    return Estimate(mean, sd, float(pooled), float(low), float(high), sd_over_seeds=between)
