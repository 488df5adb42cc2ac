"""Whether anything scores above chance: exchanged labels, for many contestants at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stfmri.evidence.metrics import FloatArray
from stfmri.evidence.statistics.bootstrap import DRAWS, SEED, Score

_PERMUTATIONS = 30
# Equal matrices must count as equal although their sums were rounded differently.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Chance:
    """What exchanged labels score; arrays of shape (V,), NaN where the score is undefined.

    Attributes:
        mean: mean score over the permutations.
        p: one-sided, of each contestant alone.
        p_adjusted: the same for all at once, against the highest score of each permutation: who
            is picked after looking is allowed for.
    """

    mean: FloatArray
    p: FloatArray
    p_adjusted: FloatArray


def double_use(tested: npt.ArrayLike) -> float:
    """How much more a score over folds varies by chance than exchanged labels show.

    In k-fold cross-validation patient j teaches the network that is tested on i, and i the one
    that is tested on j. If the two look alike and happen to bear the same label, both tests gain.
    Exchanged labels meet predictions that stay as they are, so there each test gains by itself.
    Where a network's output is linear in the labels it learned (a kernel machine), a sum of right
    outputs is one over pairs of patients: n_ij + n_ji times their likeness times the product of
    their labels, where n_ij folds test i and train on j. Its variance is proportional to
    Σ (n_ij + n_ji)², that of exchanged labels to Σ n_ij² + n_ji².

    Choosing the likeliest class mostly weakens the effect: where the ratio is 2, ridge regression
    of noise has 1.6. A majority vote among a few patients of one source can exceed it: a look-up in
    20 folds has 2.3 to 2.8, and is called better than chance in 6 to 7 % of studies instead of 5 %.

    Args:
        tested: bool (k, P), which clusters each fold tests; it is taken to train on all others.

    Returns:
        Ratio of variances, from 1, for a single division, to 2, for k folds, repeated or not.
    """
    tests = np.asarray(tested, dtype=np.float64)
    trains = 1 - tests
    both_ways = tests @ trains.T
    squares = ((tests @ tests.T) * (trains @ trains.T)).sum()
    return 1.0 + float((both_ways * both_ways.T).sum() / squares) if squares else 1.0


def against_chance(
    contributions: npt.ArrayLike,
    metric: Score,
    draws: int = DRAWS,
    seed: int = SEED,
    variance_ratio: float = 1.0,
) -> Chance:
    """Compare scores with those of the same predictions and exchanged labels.

    The label of a cluster goes to another cluster together with all its scans, and meets there all
    predictions in all folds: a patient who is tested several times counts once. Clusters whose
    scans bear several classes keep theirs.

    Args:
        contributions: shape (V, P, K, K), for each contestant and cluster the confusion matrix of
            its predictions.
        metric: function of confusion matrices of shape (..., V, K, K); higher is better. It may
            average the trainings of a contestant (`score_over_seeds`): results are of the latter.
        draws: number n of permutations.
        seed: the same seed gives the same permutations.
        variance_ratio: of `double_use`; the scores of exchanged labels are drawn away from their
            mean until their variance is so many times what it was.

    Returns:
        p-values are (1 + number of permutations that score as high) / (1 + n) (Phipson & Smyth
        2010), adjusted ones by the single-step maximum (Westfall & Young 1993).
    """
    counts = np.asarray(contributions, dtype=np.float32)
    variants, _, classes, _ = counts.shape
    observed = metric(counts.sum(axis=1))
    rows = counts.sum(axis=(0, 3))
    pure = (rows > 0).sum(axis=1) == 1
    labels = rows[pure].argmax(axis=1)
    predicted = counts[:, pure].sum(axis=2).transpose(1, 0, 2).reshape(int(pure.sum()), -1)
    permuted = np.random.default_rng([seed, _PERMUTATIONS]).permuted(
        np.tile(labels, (draws, 1)), axis=1
    )
    drawn = np.empty((draws, variants, classes, classes), dtype=np.float32)
    for label in range(classes):
        met = (permuted == label).astype(np.float32) @ predicted
        drawn[:, :, label] = met.reshape(draws, variants, classes)
    scores = metric(drawn + counts[:, ~pure].sum(axis=1))
    mean = np.ma.masked_invalid(scores).mean(axis=0).filled(np.nan)
    scores = mean + np.sqrt(variance_ratio) * (scores - mean)
    defined = ~np.isnan(observed)
    p, adjusted = np.full(len(observed), np.nan), np.full(len(observed), np.nan)
    if defined.any():
        highest = np.nanmax(scores[:, defined], axis=1)
        needed = observed - ROUNDING
        p[defined] = (1.0 + (scores >= needed).sum(axis=0)[defined]) / (1.0 + draws)
        above = (highest[:, None] >= needed[defined]).sum(axis=0)
        adjusted[defined] = (1.0 + above) / (1.0 + draws)
    return Chance(mean, p, adjusted)
