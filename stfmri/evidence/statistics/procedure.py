"""How much a score varies because training does: between folds, beyond what patients explain.

The networks of the folds of one variant differ in their training set, initial weights and order of
the data. The scores of the folds also differ because each has its own test patients. The latter
part is what `reassigned_fold_scores` shows: the scores after test patients have been dealt out to
the folds anew, as if all networks of a variant were alike. The rest is the *excess* variance.

The training sets of folds overlap, so the variance of a mean over k folds is the excess variance
times `1/k + n_test/n_train`, not 1/k (Nadeau & Bengio 2003, section 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from stfmri.evidence.metrics import FloatArray
from stfmri.evidence.statistics.bootstrap import CHUNK, SEED, Score

REASSIGNMENTS = 200
# A variance over few folds is little known. That of each variant is averaged with the mean over
# all variants, which counts as much as so many further folds (Smyth 2004, Linear models and
# empirical Bayes methods). How many can be estimated from this number of variants on.
PRIOR_FOLDS = 4
VARIANTS_FOR_PRIOR = 12
_ASSIGNMENT, _NOISE, _CHI_SQUARE = range(10, 13)


@dataclass(frozen=True)
class ProcedureVariance:
    """Variance of a score over trained networks; all of shape (V,).

    NaN with a single fold, and without a factor.

    Attributes:
        observed: between folds, moderated over variants.
        explained: the part of it that different test patients explain.
        degrees_of_freedom: of `observed`; one number where it is the same for all.
        factor: `1/k + n_test/n_train`, by which the variance of a mean over folds is larger; NaN
            where it is not known how many trained.
    """

    observed: FloatArray
    explained: FloatArray
    degrees_of_freedom: float | FloatArray
    factor: float

    @property
    def of_mean(self) -> FloatArray:
        """Excess variance of the mean over folds, shape (V,), at least 0."""
        return self.factor * np.maximum(self.observed - self.explained, 0.0)

    @property
    def each(self) -> list[ProcedureVariance]:
        """The same, of one variant at a time."""
        freedom = np.broadcast_to(self.degrees_of_freedom, self.observed.shape)
        return [
            ProcedureVariance(
                self.observed[[number]], self.explained[[number]], freedom[[number]], self.factor
            )
            for number in range(len(self.observed))
        ]


def overlap_factor(folds: int, train_size: float, test_size: float) -> float:
    """Nadeau & Bengio's `1/k + n_test/n_train`.

    Args:
        folds: their number k, at least 1.
        train_size: mean number of training subjects of a fold; 0 where it is not known, as of
            predictions that another tool made.
        test_size: mean number of test subjects of a fold.

    Returns:
        NaN where the size of the training part is not known.
    """
    if not train_size:
        return math.nan
    return 1.0 / folds + test_size / train_size


def reassigned_fold_scores(
    counts: npt.ArrayLike, metric: Score, times: int = REASSIGNMENTS, seed: int = SEED
) -> FloatArray:
    """Scores of folds to which the tested clusters have been dealt out at random.

    A cluster takes the folds of another one of the same class that was tested equally often, and
    its predictions go there with it. Sizes and classes of the test parts, and how far they
    overlap, stay as they are.

    Args:
        counts: shape (V, k, P, K, K), for each variant, fold and cluster the confusion matrix of
            its predictions; zero where it was not tested.
        metric: function of confusion matrices of shape (..., V, K, K); the trainings of a
            contestant may be averaged in it (`score_over_seeds`).
        times: number of reassignments.
        seed: the same seed gives the same reassignments.

    Returns:
        Shape (times, V, k), V as many as `metric` gives.
    """
    array = np.asarray(counts, dtype=np.float32)
    variants, folds, _, classes, _ = array.shape
    tests = array.sum(axis=(0, 4))  # (k, P, K)
    tested = tests.sum(axis=2).T > 0  # (P, k)
    cluster, fold = np.nonzero(tested)
    records = array[:, fold, cluster].transpose(1, 0, 2, 3).reshape(len(cluster), -1)
    labels = tests.sum(axis=0).argmax(axis=1)
    new_folds = reassigned_folds(tested, labels, times, seed)
    scores = []
    step = max(1, CHUNK // (folds * max(records.shape)))
    for start in range(0, times, step):
        chosen = new_folds[start : start + step, None] == np.arange(folds)[:, None]
        confusions = chosen.reshape(-1, len(cluster)).astype(np.float32) @ records
        by_fold = metric(confusions.reshape(-1, folds, variants, classes, classes))
        scores.append(by_fold.transpose(0, 2, 1))
    return np.concatenate(scores)


def reassigned_folds(
    tested: npt.NDArray[np.bool_], labels: npt.NDArray[np.intp], times: int, seed: int
) -> npt.NDArray[np.intp]:
    """The fold to which each tested pair of cluster and fold is dealt.

    Args:
        tested: shape (P, k), which clusters each fold tests.
        labels: shape (P,), the class of each cluster.
        times: number of reassignments.
        seed: of the random numbers.

    Returns:
        Shape (times, R): a fold for each of the R true entries of `tested`, row by row.
    """
    generator = np.random.default_rng([seed, _ASSIGNMENT])
    each = tested.sum(axis=1)
    fold = np.nonzero(tested)[1]
    first = np.cumsum(each) - each
    new = np.tile(fold, (times, 1))
    for number, label in sorted(set(zip(each.tolist(), labels.tolist(), strict=True))):
        members = np.flatnonzero((each == number) & (labels == label))
        if not number:
            continue
        entries = first[members][:, None] + np.arange(number)  # (members, number)
        takes = generator.permuted(np.tile(np.arange(len(members)), (times, 1)), axis=1)
        dealt = generator.permuted(fold[entries[takes]], axis=2)
        new[:, entries.ravel()] = dealt.reshape(times, -1)
    return new


def procedure_variance(
    fold_scores: FloatArray, reassigned: FloatArray, factor: float, *, paired: bool
) -> ProcedureVariance:
    """Split the variance between folds into what patients explain and the rest.

    The variances of all variants are drawn towards their mean, as if each had more folds of an
    average variant: 4, or from 12 variants on as many as their likeness suggests, at least 4.

    Args:
        fold_scores: shape (V, k), the score of each variant in each fold, all of them defined.
        reassigned: of `reassigned_fold_scores`, shape (times, V, k).
        factor: of `overlap_factor`.
        paired: for differences between variants, where what is common to all variants in a fold
            cancels; of no use to a single variant.
    """
    spread = _paired_variances if paired else _variances
    variants, folds = fold_scores.shape
    if folds < 2 or math.isnan(factor) or (paired and variants < 2):
        undefined = np.full(variants, np.nan)
        return ProcedureVariance(undefined, undefined, np.nan, factor)
    own = folds - 1
    observed, explained = spread(fold_scores), spread(reassigned).mean(axis=0)
    if variants == 1 or (paired and variants == 2):
        return ProcedureVariance(observed, explained, own, factor)
    prior = _prior_degrees_of_freedom(observed, own)
    share = prior / (prior + own)
    observed = np.maximum(share * observed.mean() + (1 - share) * observed, 0.0)
    explained = share * explained.mean() + (1 - share) * explained
    return ProcedureVariance(observed, explained, prior + own, factor)


def procedure_noise(variance: ProcedureVariance, draws: int, seed: int = SEED) -> FloatArray:
    """Draws of what training adds to the mean over folds, the variance itself being uncertain.

    The variance between folds is drawn from its fiducial distribution, observed variance times
    degrees of freedom over chi-square; what patients explain is taken off, never below 0. With
    few folds the draws have the long tails of Student's t.

    Returns:
        Shape (draws, V), with median 0; NaN where the variance is.
    """
    shape = (draws, len(variance.observed))
    df = variance.degrees_of_freedom
    if np.isnan(df).any():
        return np.full(shape, np.nan)
    chi_square = np.random.default_rng([seed, _CHI_SQUARE]).chisquare(df, shape)
    excess = np.maximum(variance.observed * df / chi_square - variance.explained, 0.0)
    normal = np.random.default_rng([seed, _NOISE]).standard_normal(shape)
    return np.sqrt(variance.factor * excess) * normal


def _prior_degrees_of_freedom(variances: FloatArray, own: int) -> float:
    """How much the mean variance of all variants counts beside a variant's own.

    Logarithms of equal variances would vary as trigamma(own / 2); what they vary more is
    trigamma(prior / 2) (Smyth 2004, section 6.2).

    Args:
        variances: shape (V,), of each variant over folds.
        own: degrees of freedom of each.
    """
    most = float((len(variances) - 1) * own)
    if len(variances) < VARIANTS_FOR_PRIOR:
        return min(PRIOR_FOLDS, most)
    # Paired variances may fall below 0; one so small says that variances differ, or nothing.
    logarithms = np.log(np.maximum(variances, 1e-3 * max(variances.mean(), 1e-12)))
    surplus = logarithms.var(ddof=1) - special.polygamma(1, own / 2)
    if surplus <= special.polygamma(1, most / 2):
        return most
    if surplus >= special.polygamma(1, PRIOR_FOLDS / 2):
        return PRIOR_FOLDS
    return float(
        optimize.brentq(lambda prior: special.polygamma(1, prior / 2) - surplus, PRIOR_FOLDS, most)
    )


def _variances(scores: FloatArray) -> FloatArray:
    """Variance over the last axis, ddof 1."""
    return scores.var(axis=-1, ddof=1)


def _paired_variances(scores: FloatArray) -> FloatArray:
    """Variance of each variant over folds after what is common to all variants; unbiased.

    The residuals of the table variants × folds underestimate and mix the variants' variances;
    for V > 2 both is undone (Grubbs 1948). Of two variants only the variance of the difference is
    known; all of it is put down to the first.

    Args:
        scores: shape (..., V, k), V at least 2.

    Returns:
        Shape (..., V); single values may fall below 0, their mean does not.
    """
    variants, folds = scores.shape[-2:]
    centred = scores - scores.mean(axis=-1, keepdims=True)
    residuals = centred - centred.mean(axis=-2, keepdims=True)
    squares = (residuals**2).sum(axis=-1) / (folds - 1)
    mean = squares.sum(axis=-1, keepdims=True) / (variants - 1)
    if variants == 2:
        return np.concatenate([2.0 * mean, np.zeros_like(mean)], axis=-1)
    return (squares - mean / variants) / (1 - 2 / variants)
