"""Differences of a whole family at once: simultaneous intervals and adjusted p-values (max-t).

Who looks at many differences finds some that are not there. Here the family is fixed before any
of them is looked at, for instance all pairs of variants, and its intervals hold *all* true
differences together in 95 % of studies. A pair that is picked after looking, the leader and the
next one say, is in the family already. The critical value is a quantile of the largest
studentised deviation of the paired draws (single-step max-t: Westfall & Young 1993; Hothorn, Bretz
& Westfall 2008), so that it allows for how much the differences have in common.

All pairs are always compared, however many variants there are: 300 make 44,850 pairs, whose largest
deviation is found a few draws at a time, without an array of draws × pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stfmri.evidence.metrics import FloatArray
from stfmri.evidence.statistics.bootstrap import CHUNK, SEED
from stfmri.evidence.statistics.procedure import ProcedureVariance, procedure_noise

_CHI_SQUARE = 40
IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Family:
    """Differences `scores[first] - scores[second]`; arrays of shape (M,), NaN where undefined.

    Attributes:
        pairs: shape (M, 2), numbers of the contestants.
        difference: of the observed scores.
        standard_error: over patients, and over training where a procedure is spoken of.
        low, high: simultaneous interval.
        p: two-sided, adjusted for the family, at least 1 / (draws + 1).
        critical: the critical value of all intervals, in standard errors.
    """

    pairs: IntArray
    difference: FloatArray
    standard_error: FloatArray
    low: FloatArray
    high: FloatArray
    p: FloatArray
    critical: float


def all_pairs(contestants: int) -> IntArray:
    """Every pair of contestants once, the lower number first; shape (M, 2)."""
    return np.stack(np.triu_indices(contestants, 1), axis=1)


def against(contestants: int, baselines: int) -> IntArray:
    """Each contestant with each baseline, which are numbered after them; shape (M, 2)."""
    first, second = np.indices((contestants, baselines)).reshape(2, -1)
    return np.stack([first, contestants + second], axis=1)


def patients_degrees_of_freedom(contributions: npt.ArrayLike) -> float:
    """Degrees of freedom of a variance over patients: the harmonic mean of the classes' sizes.

    Of a mean over classes, such as macro F1, the smallest class decides how well the variance is
    known. The normal distribution in place of Student's t finds false differences in 6 to 8 % of
    sweeps (`benchmarks/interval_coverage.py`, a single split).

    Args:
        contributions: shape (V, P, K, K), as for `confusion_draws`.

    Returns:
        At least 1.
    """
    tests = np.asarray(contributions)[0].sum(axis=2)
    clusters = (tests > 0).sum(axis=0)
    present = clusters[clusters > 0]
    return float(len(present) / (1.0 / present).sum()) if present.size else 1.0


def networks_family(
    scores: npt.ArrayLike,
    draws: FloatArray,
    pairs: IntArray,
    degrees_of_freedom: float,
    level: float = 0.95,
    seed: int = SEED,
) -> Family:
    """Compare these trained networks, on new patients.

    Args:
        scores: shape (V,), the observed score of each contestant: variants, then baselines.
        draws: shape (draws, V), the score in each draw, the same patients for all.
        pairs: shape (M, 2), of `all_pairs` or `against`.
        degrees_of_freedom: of `patients_degrees_of_freedom`; infinite for the normal distribution.
        level: coverage of all intervals together, in (0, 1).
        seed: of the drawn chi-square of Student's t.
    """
    deviations = draws - draws.mean(axis=0)
    if np.isfinite(degrees_of_freedom):
        generator = np.random.default_rng([seed, _CHI_SQUARE])
        chi_square = generator.chisquare(degrees_of_freedom, (len(draws), 1))
        deviations = deviations / np.sqrt(chi_square / degrees_of_freedom)
    return _family(scores, draws, deviations, np.zeros(draws.shape[1]), pairs, level)


def procedures_family(
    scores: npt.ArrayLike,
    draws: FloatArray,
    variance: ProcedureVariance,
    pairs: IntArray,
    level: float = 0.95,
    seed: int = SEED,
) -> Family:
    """Compare ways of training, at this size of training set.

    Args:
        scores: shape (V,), the observed score of each contestant: variants, then baselines.
        draws: shape (draws, V), the score in each draw, the same patients for all.
        variance: of `procedure_variance` with `paired=True`, of the same V contestants.
        pairs: shape (M, 2), of `all_pairs` or `against`.
        level: coverage of all intervals together, in (0, 1).
        seed: of the noise that stands for training.

    Returns:
        The family; all NaN but the differences with a single fold.
    """
    noise = procedure_noise(variance, len(draws), seed)
    deviations = draws - draws.mean(axis=0) + noise
    return _family(scores, draws, deviations, variance.of_mean, pairs, level)


def _family(
    scores: npt.ArrayLike,
    draws: FloatArray,
    deviations: FloatArray,
    training_variance: FloatArray,
    pairs: IntArray,
    level: float,
) -> Family:
    """Studentise the deviations of every pair and compare with the largest of each draw.

    Args:
        scores: shape (V,).
        draws: shape (draws, V), over patients; they give the standard errors.
        deviations: shape (draws, V), what the scores may be off by, over training too.
        training_variance: shape (V,), of the mean over folds.
        pairs: shape (M, 2).
        level: coverage.
    """
    observed = np.asarray(scores, dtype=np.float64)
    first, second = pairs.T
    difference = observed[first] - observed[second]
    covariance = np.atleast_2d(np.cov(draws, rowvar=False))
    spread = np.diag(covariance)
    error = np.sqrt(
        np.maximum(spread[first] + spread[second] - 2.0 * covariance[first, second], 0.0)
        + training_variance[first]
        + training_variance[second]
    )
    usable = np.isfinite(difference) & np.isfinite(error) & (error > 0)
    low, high, p = (np.full(len(pairs), np.nan) for _ in range(3))
    if not usable.any():
        return Family(pairs, difference, error, low, high, p, np.nan)
    largest = _largest(deviations, pairs[usable], error[usable])
    critical = float(np.quantile(largest, level))
    low, high = difference - critical * error, difference + critical * error
    low[~usable] = high[~usable] = np.nan
    studentised = np.abs(difference[usable]) / error[usable]
    above = len(largest) - np.searchsorted(np.sort(largest), studentised, side="left")
    p[usable] = (1.0 + above) / (1.0 + len(largest))
    return Family(pairs, difference, error, low, high, p, critical)


def _largest(deviations: FloatArray, pairs: IntArray, error: FloatArray) -> FloatArray:
    """The largest studentised deviation of each draw; a few draws at a time, for memory."""
    values = deviations.astype(np.float32)
    scale = (1.0 / error).astype(np.float32)
    first, second = pairs.T
    largest = np.empty(len(values))
    step = max(1, CHUNK // len(pairs))
    for start in range(0, len(values), step):
        part = values[start : start + step]
        gaps = np.abs(part[:, first] - part[:, second]) * scale
        largest[start : start + step] = gaps.max(axis=1)
    return largest
