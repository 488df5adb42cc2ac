"""Several trainings of one variant on the same folds, which differ in their seed alone.

Seeds are replicates: they test the same patients, so that they say how much training varies and
nothing about further patients. A score of the variant is the mean over its seeds, in the data as in
each draw of patients; one draw of patients serves all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stfmri.evidence.metrics import FloatArray
from stfmri.evidence.metrics.defined import mean_of_defined, ratio
from stfmri.evidence.statistics.bootstrap import Score


@dataclass(frozen=True)
class SpreadParts:
    """The variance components of a score in a one-way random-effects model, seeds within folds.

    The score of fold f and seed s is taken for mean + fold_f + seed_fs. The components are those
    of the analysis of variance (Searle, Casella & McCulloch 1992, section 3.6), never below 0.

    Attributes:
        over_folds: standard deviation over folds of the means over seeds (ddof 1).
        over_seeds: standard deviation over the seeds of one fold: the root of the mean square
            within folds.
        folds_alone: standard deviation between folds that seeds do not explain: the root of
            over_folds² - over_seeds² / S.
        share_of_seeds: over_seeds² as a part of over_seeds² + folds_alone².
    """

    over_folds: float
    over_seeds: float
    folds_alone: float
    share_of_seeds: float


def spread_parts(score_SF: npt.ArrayLike) -> SpreadParts:
    """Tell the spread over folds and over seeds apart.

    Args:
        score_SF: of each of S seeds in each of F folds; folds where one is undefined are left out.

    Returns:
        NaN for what takes two folds, or two seeds, and has fewer.
    """
    scores = np.asarray(score_SF, dtype=np.float64)
    scores = scores[:, ~np.isnan(scores).any(axis=0)]
    seeds, folds = scores.shape
    of_folds = float(scores.mean(axis=0).var(ddof=1)) if folds > 1 else math.nan
    of_seeds = float(scores.var(axis=0, ddof=1).mean()) if folds and seeds > 1 else math.nan
    alone = np.maximum(of_folds - of_seeds / seeds, 0.0)  # NaN stays NaN
    share = ratio(np.array(of_seeds), np.array(of_seeds + alone))
    return SpreadParts(
        math.sqrt(of_folds), math.sqrt(of_seeds), float(np.sqrt(alone)), float(share)
    )


def mean_over_seeds(values: npt.ArrayLike) -> FloatArray:
    """Mean over the first axis, the seeds, of what is defined."""
    return mean_of_defined(np.moveaxis(np.asarray(values, dtype=np.float64), 0, -1))


def draws_of_one(draws_SD: npt.ArrayLike) -> FloatArray:
    """The mean over seeds in each draw of patients, spread as widely as the draws of one seed.

    Where seeds disagree by chance their mean varies less over patients than each of them does, as
    if there were more patients. An interval of a score on new patients should not get narrower by
    training again: the draws are spread about their centre to the root mean square of the spreads
    of single seeds.

    Args:
        draws_SD: shape (S, D, ...), a score of each seed in each draw; the same patients for all.

    Returns:
        Shape (D, ...); NaN where no seed is defined.
    """
    draws = np.asarray(draws_SD, dtype=np.float64)
    mean = mean_over_seeds(draws)
    if len(draws) == 1:
        return mean
    centre, together = _moments(mean)
    alone = mean_over_seeds([_moments(one)[1] for one in draws])
    widened = ratio(alone, together)
    factor = np.sqrt(np.where(np.isnan(widened), 1.0, np.maximum(widened, 1.0)))
    return centre + (mean - centre) * factor


def score_over_seeds(score: Score, owner_M: npt.NDArray[np.intp]) -> Score:
    """A score of the matrices of M trainings, (..., M, K, K), as that of V contestants, (..., V).

    Args:
        score: of confusion matrices (..., K, K).
        owner_M: number of the contestant of each training, rising from 0.
    """
    starts = np.flatnonzero(np.diff(owner_M, prepend=-1))
    if len(starts) == len(owner_M):
        return score
    stops = [*starts[1:].tolist(), len(owner_M)]

    def of_contestants(counts: npt.ArrayLike) -> FloatArray:
        values = score(counts)
        parts = [
            mean_of_defined(values[..., start:stop])
            for start, stop in zip(starts.tolist(), stops, strict=True)
        ]
        return np.stack(parts, axis=-1)

    return of_contestants


def _moments(draws: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and variance over the first axis, of what is defined."""
    last = np.moveaxis(draws, 0, -1)
    mean = mean_of_defined(last)
    return mean, mean_of_defined((last - mean[..., None]) ** 2)
