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


def against_chance(
    contributions: npt.ArrayLike, metric: Score, draws: int = DRAWS, seed: int = SEED
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
    defined = ~np.isnan(observed)
    p, adjusted = np.full(len(observed), np.nan), np.full(len(observed), np.nan)
    if defined.any():
        highest = np.nanmax(scores[:, defined], axis=1)
        needed = observed - ROUNDING
        p[defined] = (1.0 + (scores >= needed).sum(axis=0)[defined]) / (1.0 + draws)
        above = (highest[:, None] >= needed[defined]).sum(axis=0)
        adjusted[defined] = (1.0 + above) / (1.0 + draws)
    return Chance(scores.mean(axis=0), p, adjusted)
