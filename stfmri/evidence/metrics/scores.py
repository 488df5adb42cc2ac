"""Classification metrics as functions of predicted probabilities, weighted many times over.

Each function takes N predictions and weights of shape (D, N), such as D draws of a bootstrap, and
gives shape (D,), or (D, K) per class. A prediction of weight 2 counts twice, one of weight 0 not at
all. Weights that are the transpose of a C-ordered float64 array (N, D) need no copy. The
definitions are scikit-learn's with `sample_weight`; what is undefined is NaN, as `metrics.defined`
says.

Metrics of rank (AUC, average precision) are computed within each fold and averaged over the folds
in which they are defined, since probabilities of different networks cannot be ranked together. The
mean over classes is that of the classes' values over folds. Metrics of single probabilities (Brier
score, log loss, calibration error) are weighted means over the predictions of all folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from stfmri.evidence.metrics.defined import mean_of_defined, ratio
from stfmri.evidence.metrics.record import FloatArray, Metric, Scores

CALIBRATION_BINS = 15
# Weights in work at a time, 8 MB as float64; but never so few draws that calls take the time.
CHUNK = 1 << 20
FEWEST_DRAWS = 128

IntArray = npt.NDArray[np.int64]


def of_scores(scores: Scores, weights: npt.ArrayLike) -> dict[Metric, FloatArray]:
    """Every metric of probabilities, in the order of the registry.

    The values are those of each metric's `from_scores`; means over classes are taken from the
    classes' values, which halves the time.
    """
    values: dict[Metric, FloatArray] = {}
    for metric in SCORE_METRICS:
        if metric.mean_of in values:
            values[metric] = mean_of_defined(values[metric.mean_of])
        elif metric.from_scores:
            values[metric] = metric.from_scores(scores, weights)
    return values


def auc(scores: Scores, weights: npt.ArrayLike) -> FloatArray:
    """Area under the ROC curve of each class against the rest; shape (D, K), in [0, 1].

    The chance that a member of the class gets a higher probability of it than a non-member;
    equal probabilities count half.
    """
    return _over_folds(scores, weights, _auc)


def average_precision(scores: Scores, weights: npt.ArrayLike) -> FloatArray:
    """Area under the precision-recall steps of each class; shape (D, K), in [0, 1].

    The sum over thresholds of precision times the gain in recall, without interpolation; equal
    probabilities share a threshold.
    """
    return _over_folds(scores, weights, _average_precision)


def macro_auc(scores: Scores, weights: npt.ArrayLike) -> FloatArray:
    """Plain mean of the classes' AUC; shape (D,), in [0, 1]."""
    return mean_of_defined(auc(scores, weights))


def macro_average_precision(scores: Scores, weights: npt.ArrayLike) -> FloatArray:
    """Plain mean of the classes' average precision; shape (D,), in [0, 1]."""
    return mean_of_defined(average_precision(scores, weights))


def brier(scores: Scores, weights: npt.ArrayLike) -> FloatArray:
    """Multi-class Brier score; shape (D,), in [0, 2].

    The mean over predictions of the sum over classes of the squared difference between the
    probability and 1 for the true class, 0 for the others. Source: Brier (1950), Verification of
    forecasts expressed in terms of probability. With two classes it is twice what is often called
    by that name.
    """
    truth_NK = np.eye(scores.probability_NK.shape[1])[scores.label_N]
    squared_N = ((scores.probability_NK - truth_NK) ** 2).sum(axis=1)
    return _weighted_means(weights, squared_N[:, np.newaxis])[:, 0]


def log_loss(scores: Scores, weights: npt.ArrayLike) -> FloatArray:
    """Mean negative natural logarithm of the true class's probability; shape (D,), at least 0.

    Probabilities are clipped to [eps, 1 - eps] of float64, as scikit-learn clips them, so that one
    sure mistake costs 36 and not infinity.
    """
    eps = np.finfo(np.float64).eps
    given_N = scores.probability_NK[np.arange(len(scores.label_N)), scores.label_N]
    loss_N = -np.log(np.clip(given_N, eps, 1.0 - eps))
    return _weighted_means(weights, loss_N[:, np.newaxis])[:, 0]


def ece(scores: Scores, weights: npt.ArrayLike) -> FloatArray:
    """Expected calibration error of the top label; shape (D,), in [0, 1].

    The mean over 15 bins of equal width of |accuracy - confidence|, weighted by the bins' share
    of the predictions; confidence is the highest probability. Source: Guo, Pleiss, Sun &
    Weinberger (2017), On calibration of modern neural networks, equation 3.
    """
    top = top_label(scores)
    gap_NB = np.zeros((len(top.bin_N), CALIBRATION_BINS))
    gap_NB[np.arange(len(top.bin_N)), top.bin_N] = top.right_N - top.confidence_N
    return np.abs(_weighted_means(weights, gap_NB)).sum(axis=1)


@dataclass(frozen=True)
class TopLabel:
    """The likeliest class of each prediction, of equals the first.

    Attributes:
        confidence_N: its probability.
        right_N: whether it is the true class.
        bin_N: number of the confidence's bin, from 0. Bin b holds (b/15, (b+1)/15].
    """

    confidence_N: FloatArray
    right_N: npt.NDArray[np.bool_]
    bin_N: IntArray


def top_label(scores: Scores, bins: int = CALIBRATION_BINS) -> TopLabel:
    """The likeliest class of each prediction, and the bin of its probability among `bins`."""
    confidence_N = scores.probability_NK.max(axis=1)
    right_N = scores.probability_NK.argmax(axis=1) == scores.label_N
    inner_edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    return TopLabel(confidence_N, right_N, np.searchsorted(inner_edges, confidence_N))


# One ranking: rows of the members and of the non-members of a class among the predictions of one
# fold, by groups of equal probability, highest first. Plain lists, since most hold one number.
_Ranking = list[tuple[list[int], list[int]]]


def _rank(
    rows_n: IntArray, probability_n: FloatArray, is_member_n: npt.NDArray[np.bool_]
) -> _Ranking:
    """Order the rows of one fold by their probabilities of a class."""
    order = np.argsort(-probability_n, kind="stable")
    is_lower = np.diff(probability_n[order], prepend=np.inf) != 0
    ranking: _Ranking = []
    for row, starts_group, is_member in zip(
        rows_n[order].tolist(), is_lower.tolist(), is_member_n[order].tolist(), strict=True
    ):
        if starts_group:
            ranking.append(([], []))
        ranking[-1][0 if is_member else 1].append(row)
    return ranking


def _auc(ranking: _Ranking, weight_Nd: FloatArray) -> FloatArray:
    """Weighted AUC of one ranking under d weightings, shape (d,)."""
    members_d, others_d, lost_d, term_d = np.zeros((4, weight_Nd.shape[1]))
    for members, others in ranking:
        if members:
            weight_d = _summed(weight_Nd, members)
            members_d += weight_d
            lost_d += np.multiply(weight_d, others_d, out=term_d)
        if others:
            weight_d = _summed(weight_Nd, others)
            others_d += weight_d
            if members:
                lost_d += _summed(weight_Nd, members) * weight_d / 2
    return 1.0 - ratio(lost_d, members_d * others_d)


def _average_precision(ranking: _Ranking, weight_Nd: FloatArray) -> FloatArray:
    """Weighted average precision of one ranking under d weightings, shape (d,)."""
    members_d, all_d, gained_d, term_d = np.zeros((4, weight_Nd.shape[1]))
    # Too little to change a sum, and enough that 0 of nothing is 0 where a member has no weight.
    all_d += np.finfo(np.float64).tiny
    for members, others in ranking:
        if others:
            all_d += _summed(weight_Nd, others)
        if members:
            weight_d = _summed(weight_Nd, members)
            members_d += weight_d
            all_d += weight_d
            np.divide(members_d, all_d, out=term_d)
            term_d *= weight_d
            gained_d += term_d
    return ratio(gained_d, members_d)


def _summed(weight_Nd: FloatArray, rows: list[int]) -> FloatArray:
    """Sum of some rows, at least one; most often it is one, which needs no copy."""
    return weight_Nd[rows[0]] if len(rows) == 1 else weight_Nd[rows].sum(axis=0)


def _over_folds(
    scores: Scores,
    weights: npt.ArrayLike,
    statistic: Callable[[_Ranking, FloatArray], FloatArray],
) -> FloatArray:
    """Mean over the folds of a metric of rank, shape (D, K)."""
    weight_DN = np.asarray(weights)
    rankings = _rankings(scores)
    value_DKF = np.empty((len(weight_DN), len(rankings), len(rankings[0])))
    for draws in _chunks(*weight_DN.shape):
        # A row a prediction, so that each step below runs over draws that lie side by side.
        weight_Nd = np.ascontiguousarray(weight_DN[draws].T, dtype=np.float64)
        for number, of_class in enumerate(rankings):
            for position, ranking in enumerate(of_class):
                value_DKF[draws, number, position] = statistic(ranking, weight_Nd)
    return mean_of_defined(value_DKF)


@lru_cache(maxsize=4)
def _rankings(scores: Scores) -> list[list[_Ranking]]:
    """The ranking of each class in each fold; kept, since several metrics ask for it in turn."""
    classes = range(scores.probability_NK.shape[1])
    folds = [np.flatnonzero(scores.fold_N == fold) for fold in np.unique(scores.fold_N)]
    return [
        [_rank(rows, scores.probability_NK[rows, k], scores.label_N[rows] == k) for rows in folds]
        for k in classes
    ]


def _weighted_means(weights: npt.ArrayLike, value_NM: FloatArray) -> FloatArray:
    """Weighted means of M values a prediction, shape (D, M)."""
    weight_DN = np.asarray(weights)
    with_one_NM = np.column_stack([value_NM, np.ones(len(value_NM))])
    sum_DM = np.empty((len(weight_DN), with_one_NM.shape[1]))
    for draws in _chunks(*weight_DN.shape):
        sum_DM[draws] = weight_DN[draws].astype(np.float64, copy=False) @ with_one_NM
    total_DM = np.broadcast_to(sum_DM[:, -1:], (len(sum_DM), value_NM.shape[1]))
    return ratio(sum_DM[:, :-1], total_DM)


def _chunks(draws: int, predictions: int) -> Iterator[slice]:
    """Slices of the draws, of about `CHUNK` weights each."""
    size = max(FEWEST_DRAWS, CHUNK // max(1, predictions))
    for start in range(0, draws, size):
        yield slice(start, min(start + size, draws))


AUC = Metric(
    "auc",
    "AUC",
    "Area under the ROC curve of a class against the rest, within each fold and averaged over "
    "folds.",
    per_class=True,
    from_scores=auc,
)
AVERAGE_PRECISION = Metric(
    "average_precision",
    "Average precision",
    "Sum over thresholds of precision times the gain in recall, of a class against the rest, "
    "within each fold and averaged over folds.",
    per_class=True,
    from_scores=average_precision,
)
SCORE_METRICS: tuple[Metric, ...] = (
    AUC,
    AVERAGE_PRECISION,
    Metric(
        "macro_auc",
        "Macro AUC",
        "Plain mean of the classes' AUC.",
        per_class=False,
        table="probabilities",
        from_scores=macro_auc,
        mean_of=AUC,
    ),
    Metric(
        "macro_average_precision",
        "Macro average precision",
        "Plain mean of the classes' average precision.",
        per_class=False,
        table="probabilities",
        from_scores=macro_average_precision,
        mean_of=AVERAGE_PRECISION,
    ),
    Metric(
        "brier",
        "Brier score",
        "Mean over predictions of the sum over classes of the squared difference between "
        "probability and truth, from 0 (perfect) to 2.",
        per_class=False,
        table="probabilities",
        from_scores=brier,
        higher_is_better=False,
        bounds=(0.0, 2.0),
    ),
    Metric(
        "log_loss",
        "Log loss",
        "Mean negative natural logarithm of the probability of the true class.",
        per_class=False,
        table="probabilities",
        from_scores=log_loss,
        higher_is_better=False,
        bounds=(0.0, float("inf")),
    ),
    Metric(
        "ece",
        "Calibration error",
        "Expected calibration error of the likeliest class: mean difference between accuracy and "
        "confidence over 15 bins of equal width (Guo et al. 2017).",
        per_class=False,
        table="probabilities",
        from_scores=ece,
        higher_is_better=False,
    ),
)
