"""The area under the ROC curve: DeLong's variance and paired test, and an interval for 1.0 too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from stfmri.evidence.metrics import FloatArray


@dataclass(frozen=True)
class AucEstimate:
    """Areas under the ROC curve of V variants on the same patients.

    Attributes:
        auc: shape (V,), in [0, 1]; ties between a positive and a negative count half.
        covariance: shape (V, V), DeLong's; NaN with fewer than two positives or negatives.
    """

    auc: FloatArray
    covariance: FloatArray


@dataclass(frozen=True)
class AucTest:
    """DeLong's test that two areas are equal; `z` and `p` are NaN where undefined."""

    difference: float
    standard_error: float
    z: float
    p: float


def delong(positive: npt.ArrayLike, scores: npt.ArrayLike) -> AucEstimate:
    """Estimate the areas under the ROC curve and their covariance over patients.

    By ranks, in O(n log n) (Sun & Xu 2014, algorithm 2), the same as the structural components of
    DeLong, DeLong & Clarke-Pearson 1988, equations 4 to 8. Each patient must be there once.

    Args:
        positive: shape (n,), whether each patient is of the class in question.
        scores: shape (V, n), or (n,) for one variant; higher speaks for the class.

    Raises:
        ValueError: where the shapes do not fit, a score is NaN, or one of the two kinds of
            patient is missing.
    """
    of_class = np.asarray(positive, dtype=bool)
    values = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if of_class.ndim != 1 or values.shape[1] != of_class.size or np.isnan(values).any():
        raise ValueError(
            f"expected scores of shape (V, {of_class.size}) without NaN, found {values.shape}"
        )
    positives, negatives = values[:, of_class], values[:, ~of_class]
    m, n = positives.shape[1], negatives.shape[1]
    if not m or not n:
        raise ValueError(f"expected patients of both kinds, found {m} positive, {n} negative")
    together = stats.rankdata(np.hstack([positives, negatives]), axis=1)
    # Share of the negatives below each positive, and of the positives above each negative.
    of_positives = (together[:, :m] - stats.rankdata(positives, axis=1)) / n
    of_negatives = 1.0 - (together[:, m:] - stats.rankdata(negatives, axis=1)) / m
    covariance = np.full((len(values), len(values)), np.nan)
    if m > 1 and n > 1:
        covariance = (
            np.atleast_2d(np.cov(of_positives)) / m + np.atleast_2d(np.cov(of_negatives)) / n
        )
    return AucEstimate(of_positives.mean(axis=1), covariance)


def delong_test(positive: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike) -> AucTest:
    """Test whether two variants have the same area under the curve on the same patients.

    Args:
        positive: shape (n,), whether each patient is of the class in question.
        first: shape (n,), scores of the first variant.
        second: shape (n,), scores of the second.

    Returns:
        Two-sided test with the normal distribution. Where the areas are equal and have no
        variance p is 1; where they differ without variance it is undefined.
    """
    estimate = delong(positive, np.stack([np.asarray(first), np.asarray(second)]))
    difference = float(estimate.auc[0] - estimate.auc[1])
    contrast = np.array([1.0, -1.0])
    variance = float(contrast @ estimate.covariance @ contrast)
    if np.isnan(variance):
        return AucTest(difference, float("nan"), float("nan"), float("nan"))
    # Two equal columns leave a variance of rounding errors only.
    if variance <= 1e-14:
        same = abs(difference) < 1e-12
        return AucTest(difference, 0.0, 0.0 if same else np.nan, 1.0 if same else np.nan)
    error = float(np.sqrt(variance))
    z = difference / error
    return AucTest(difference, error, z, float(2.0 * stats.norm.sf(abs(z))))


def auc_interval(
    auc: float, positives: npt.ArrayLike, negatives: npt.ArrayLike, level: float = 0.95
) -> FloatArray:
    """Newcombe's interval of an area under the curve, which has a width at 0 and 1 too.

    The areas that lie no more standard errors from the observed one than the level allows, where
    the standard error is that of the *assumed* area (Newcombe 2006, part 2, method 5), as Wilson
    does for a proportion. DeLong's interval has no width where the classes are separated.

    Of the mean over several independent groups the variance is that of one area assumed in all, the
    sum of the groups' variances over the square of their number. With one patient of either kind in
    each it is Wilson's interval.

    Args:
        auc: the observed area, or its mean over groups, in [0, 1].
        positives: number of patients of the class, at least 1; of each group, shape (S,).
        negatives: number of others, at least 1; likewise.
        level: coverage, in (0, 1).

    Returns:
        Shape (2,), lower and upper end; NaN for an undefined area.

    Raises:
        ValueError: for values out of range.
    """
    if np.isnan(auc):
        return np.full(2, np.nan)
    positive_S, negative_S = np.atleast_1d(positives), np.atleast_1d(negatives)
    if not 0.0 <= auc <= 1.0 or (positive_S < 1).any() or (negative_S < 1).any():
        raise ValueError(f"expected an area in [0, 1] and patients of both kinds, found {auc}")
    z = stats.norm.isf((1.0 - level) / 2.0)
    mean_S = (positive_S + negative_S) / 2.0 - 1.0

    def excess(area: float) -> float:
        """Squared distance in standard errors beyond what is allowed, times the variance."""
        inner_S = 1.0 + mean_S * (1.0 - area) / (2.0 - area) + mean_S * area / (1.0 + area)
        variance_S = area * (1.0 - area) * inner_S / (positive_S * negative_S)
        return float((area - auc) ** 2 - z**2 * variance_S.sum() / len(variance_S) ** 2)

    # The ends of [0, 1] solve the equation trivially where the observed area is there.
    inside = float(np.clip(auc, 1e-9, 1.0 - 1e-9))
    low = 0.0 if auc == 0.0 else optimize.brentq(excess, 0.0, inside)
    high = 1.0 if auc == 1.0 else optimize.brentq(excess, inside, 1.0)
    return np.array([low, high])
