"""Curves of predicted probabilities, for figures: ROC, precision-recall and reliability.

ROC and precision-recall curves are drawn within each fold and averaged vertically (Fawcett 2006,
An introduction to ROC analysis): the mean over folds at each of 101 points of the horizontal axis.
Pooling the predictions of all folds instead would rank probabilities of different networks. The
band is the lowest and the highest fold, not a standard deviation: of three folds that says little,
and mean ± SD may leave [0, 1]. Folds without a curve (see `metrics.defined`) are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stfmri.evidence.metrics.record import FloatArray, Scores
from stfmri.evidence.metrics.scores import CALIBRATION_BINS, top_label

GRID_POINTS = 101

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Curve:
    """One class against the rest, over folds; all arrays of shape (101,), in [0, 1].

    Attributes:
        x: the grid, 0, 0.01, …, 1.
        mean: mean over folds; NaN where no fold has a curve.
        low, high: the lowest and the highest fold, the same.
        folds: how many folds have a curve.
    """

    x: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    folds: int


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy of the likeliest class in bins of confidence, over all folds.

    Attributes:
        edges: of the B bins, shape (B + 1,); bin b holds (edges[b], edges[b + 1]].
        confidence: mean probability of the likeliest class, shape (B,); NaN in an empty bin.
        accuracy: share of right predictions, the same.
        count: number of predictions, shape (B,). The mean of |accuracy - confidence| weighted by
            it is the metric `ece`.
    """

    edges: FloatArray
    confidence: FloatArray
    accuracy: FloatArray
    count: npt.NDArray[np.int64]


def roc(scores: Scores, number: int) -> Curve:
    """True-positive rate by false-positive rate of class `number` against the rest.

    Where the curve rises straight up, its value is the upper end: at 0 it is the recall before
    the first false positive, so a drawn line starts at (0, 0) and goes up from there.
    """
    return _over_folds(scores, number, _roc_of_fold)


def precision_recall(scores: Scores, number: int) -> Curve:
    """Precision by recall of class `number` against the rest.

    The value at a recall is the precision at the highest threshold that reaches it: the steps
    whose area is the average precision. Lines between points would be too high (Davis & Goadrich
    2006, The relationship between precision-recall and ROC curves).
    """
    return _over_folds(scores, number, _precision_of_fold)


def reliability(scores: Scores, bins: int = CALIBRATION_BINS) -> Reliability:
    """The bins of a reliability diagram, as Guo et al. (2017) and the metric `ece` make them."""
    top = top_label(scores, bins)
    count = np.bincount(top.bin_N, minlength=bins)
    confidence = np.bincount(top.bin_N, weights=top.confidence_N, minlength=bins)
    right = np.bincount(top.bin_N, weights=top.right_N, minlength=bins)
    divisor = np.where(count > 0, count, np.nan)
    return Reliability(
        np.linspace(0.0, 1.0, bins + 1), confidence / divisor, right / divisor, count
    )


def _over_folds(
    scores: Scores,
    number: int,
    curve_of: Callable[[BoolArray, FloatArray, FloatArray], FloatArray | None],
) -> Curve:
    """Average the curves of the folds that have one."""
    grid = np.linspace(0.0, 1.0, GRID_POINTS)
    drawn = []
    for fold in np.unique(scores.fold_N):
        part = scores.of_fold(fold)
        values = curve_of(part.label_N == number, part.probability_NK[:, number], grid)
        if values is not None:
            drawn.append(values)
    if not drawn:
        nothing = np.full(GRID_POINTS, np.nan)
        return Curve(grid, nothing, nothing, nothing, 0)
    value_FG = np.stack(drawn)
    return Curve(
        grid, value_FG.mean(axis=0), value_FG.min(axis=0), value_FG.max(axis=0), len(drawn)
    )


def _roc_of_fold(member_N: BoolArray, score_N: FloatArray, grid: FloatArray) -> FloatArray | None:
    members, others = _counts_by_threshold(member_N, score_N)
    if not members[-1] or not others[-1]:
        return None
    # Where several points share a false-positive rate, np.interp takes the last: the highest.
    return np.interp(grid, others / others[-1], members / members[-1])


def _precision_of_fold(
    member_N: BoolArray, score_N: FloatArray, grid: FloatArray
) -> FloatArray | None:
    members, others = _counts_by_threshold(member_N, score_N)
    if not members[-1]:
        return None
    members, others = members[1:], others[1:]  # the first threshold lets nothing through
    reached = np.searchsorted(members / members[-1], grid, side="left")
    return (members / (members + others))[reached]


def _counts_by_threshold(member_N: BoolArray, score_N: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Members and others at or above each threshold, from a threshold above all scores down."""
    order = np.argsort(-score_N, kind="stable")
    last_of_equals = np.append(np.diff(score_N[order]) != 0, True)
    members = np.cumsum(member_N[order])[last_of_equals]
    everything = np.arange(1, len(order) + 1)[last_of_equals]
    return (
        np.concatenate([[0.0], members]),
        np.concatenate([[0.0], everything - members]),
    )
