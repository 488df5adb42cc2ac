"""ROC, precision–recall and reliability curves, by scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn import metrics as reference

from stfmri.evidence.metrics.record import FloatArray, Scores

GRID = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Curve:
    """One class against the rest: mean, lowest and highest fold at each x, and their number."""

    x: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    folds: int


@dataclass(frozen=True)
class Reliability:
    """Mean confidence, share of right predictions and number of predictions of each bin."""

    edges: FloatArray
    confidence: FloatArray
    accuracy: FloatArray
    count: npt.NDArray[np.int64]


def roc(scores: Scores, number: int) -> Curve:
    """Sensitivity by 1 − specificity of class `number`."""

    def of_fold(member_N: FloatArray, score_N: FloatArray) -> FloatArray:
        false_rate, true_rate, _ = reference.roc_curve(member_N, score_N)
        return np.interp(GRID, false_rate, true_rate)

    return _curve(_by_fold(scores, number, of_fold))


def precision_recall(scores: Scores, number: int) -> Curve:
    """Precision by recall of class `number`."""

    def of_fold(member_N: FloatArray, score_N: FloatArray) -> FloatArray:
        precision, recall, _ = reference.precision_recall_curve(member_N, score_N)
        return precision[::-1][np.searchsorted(recall[::-1], GRID, side="left")]

    return _curve(_by_fold(scores, number, of_fold))


def auc(scores: Scores, number: int) -> float:
    """Mean over folds."""
    return _mean(_by_fold(scores, number, reference.roc_auc_score))


def average_precision(scores: Scores, number: int) -> float:
    """Mean over folds."""
    return _mean(_by_fold(scores, number, reference.average_precision_score))


def reliability(scores: Scores, bins: int = 15) -> Reliability:
    """Bins of equal width over the probability of the likeliest class."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    top_N = scores.probability_NK.max(axis=1)
    right_N = scores.probability_NK.argmax(axis=1) == scores.label_N
    bin_N = np.clip(np.searchsorted(edges, top_N, side="left") - 1, 0, bins - 1)
    count = np.bincount(bin_N, minlength=bins)
    some = np.where(count > 0, count, np.nan)
    confidence = np.bincount(bin_N, weights=top_N, minlength=bins) / some
    return Reliability(
        edges, confidence, np.bincount(bin_N, weights=right_N, minlength=bins) / some, count
    )


def ece(scores: Scores) -> float:
    """Expected calibration error (Guo et al. 2017)."""
    found = reliability(scores)
    gap = np.nan_to_num(np.abs(found.confidence - found.accuracy))
    return float((gap * found.count).sum() / found.count.sum())


def _by_fold(scores: Scores, number: int, of_fold: Callable[..., FloatArray]) -> list[FloatArray]:
    parts = [scores.of_fold(fold) for fold in np.unique(scores.fold_N)]
    return [
        of_fold(part.label_N == number, part.probability_NK[:, number])
        for part in parts
        if 0 < (part.label_N == number).sum() < len(part.label_N)
    ]


def _curve(drawn: list[FloatArray]) -> Curve:
    if not drawn:
        nothing = np.full(len(GRID), np.nan)
        return Curve(GRID, nothing, nothing, nothing, 0)
    value_FG = np.stack(drawn)
    return Curve(GRID, value_FG.mean(0), value_FG.min(0), value_FG.max(0), len(drawn))


def _mean(values: list[FloatArray]) -> float:
    return float(np.mean(values)) if values else float("nan")
