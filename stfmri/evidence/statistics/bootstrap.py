"""A Bayesian bootstrap over patients that serves any metric and keeps its width at the ceiling.

Scans of one patient are not independent, and with repeated splits one patient is tested in several
folds. The unit that is drawn is therefore a *cluster*: all scans that share a patient or a volume,
with all their predictions in all folds. Each draw gives every cluster a weight ~ Exp(1), the same
for all variants, so that differences stay paired (Rubin 1981, The Bayesian bootstrap).

A resample of perfect predictions is perfect, so that a plain bootstrap collapses to a point where
nobody is misclassified. `confusion_draws` therefore adds one more patient of each class, whose
prediction is right in half of the draws. For x right ones among n patients with one test each, the
share of right ones is then drawn from Beta(x, n - x + 1) or Beta(x + 1, n - x), which are the two
ends of Clopper and Pearson's interval, with equal chance: the generalised fiducial distribution of
a proportion (Hannig 2009, On generalized fiducial inference, Statistica Sinica 19).
`benchmarks/interval_coverage.py` compares it with 0.2 pseudo-counts a cell and the plain bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from stfmri.evidence.metrics import FloatArray

# A score of confusion matrices (..., K, K), such as macro F1.
Score = Callable[[npt.ArrayLike], FloatArray]

DRAWS = 2000
FLAT = 1e-6  # an interval that is narrower has no width but rounding
SEED = 0
# Streams of random numbers that must not depend on each other, although the seed is the same.
_WEIGHTS, _EXTRA_WEIGHTS, _EXTRA_PREDICTIONS = range(3)
# Numbers held at once while many draws are computed: 4 million float32 are 16 MB.
CHUNK = 4_000_000


def cluster_weights(clusters: int, draws: int = DRAWS, seed: int = SEED) -> npt.NDArray[np.float32]:
    """Weights of the clusters in each draw, to be shared by all variants and all metrics.

    Any metric that takes sample weights can be drawn with them: a prediction has the weight of
    its cluster.

    Args:
        clusters: their number P, at least 1.
        draws: number of draws.
        seed: the same seed gives the same weights.

    Returns:
        Shape (draws, P), positive, with mean 1.

    Raises:
        ValueError: for no cluster or no draw.
    """
    if clusters < 1 or draws < 1:
        raise ValueError(f"expected at least 1 cluster and 1 draw, found {clusters} and {draws}")
    generator = np.random.default_rng([seed, _WEIGHTS])
    return generator.standard_exponential((draws, clusters), dtype=np.float32)


def extra_patients(
    streams: Sequence[int], classes: int, draws: int = DRAWS, seed: int = SEED
) -> npt.NDArray[np.float32]:
    """The confusion matrix of one more patient of each class, by variant and draw.

    Its weight is ~ Exp(1) and the same for all variants. Each variant takes it for its true class
    with probability 1/2, otherwise for any other class, independently of the other variants: that
    two variants agreed on n patients does not show that they would on the next.

    Args:
        streams: of random numbers, shape (V,), at least 0. Each variant has one of its own, so that
            its draws depend on no other; two of the same one predict alike.
        classes: their number K, at least 2.
        draws: number of draws.
        seed: the same seed gives the same patients.

    Returns:
        Shape (draws, V, K, K), rows true; one cell of each row is not zero.
    """
    weights = np.random.default_rng([seed, _EXTRA_WEIGHTS]).standard_exponential(
        (draws, 1, classes), dtype=np.float32
    )
    shift = np.empty((draws, len(streams), classes), dtype=np.intp)
    for number, stream in enumerate(streams):
        generator = np.random.default_rng([seed, _EXTRA_PREDICTIONS, stream])
        wrong = generator.random((draws, classes)) < 0.5
        shift[:, number] = generator.integers(1, classes, (draws, classes)) * wrong
    predicted = (np.arange(classes) + shift) % classes
    cells = predicted[..., None] == np.arange(classes)
    return cells * weights[..., None]


def confusion_draws(
    contributions: npt.ArrayLike,
    weights: npt.NDArray[np.float32],
    seed: int = SEED,
    streams: Sequence[int] | None = None,
) -> FloatArray:
    """The pooled confusion matrix of each variant in every draw.

    Rows keep their observed sums: how many patients of each class were tested is a choice of the
    study, not a finding.

    Args:
        contributions: shape (V, P, K, K), for each variant and cluster the confusion matrix of its
            predictions, over all its scans and all folds.
        weights: of `cluster_weights`, shape (draws, P).
        seed: of the additional patients.
        streams: shape (V,), of `extra_patients`; else 0, 1 … Trainings of one contestant share
            one, and take an additional patient for the same class: else their mean would vary less.

    Returns:
        Shape (draws, V, K, K), rows true.

    Raises:
        ValueError: where the shapes do not fit.
    """
    counts = np.asarray(contributions, dtype=np.float32)
    if counts.ndim != 4 or counts.shape[1] != weights.shape[1]:
        raise ValueError(
            f"expected contributions of shape (V, {weights.shape[1]}, K, K), found {counts.shape}"
        )
    variants, clusters, classes, _ = counts.shape
    by_cluster = counts.transpose(1, 0, 2, 3).reshape(clusters, -1)
    drawn = (weights @ by_cluster).reshape(-1, variants, classes, classes)
    extra = extra_patients(
        range(variants) if streams is None else streams, classes, len(weights), seed
    )
    # One more patient would be tested as often as the others are.
    drawn += tests_per_cluster(counts)[:, None, None] * extra
    observed = counts.sum(axis=(1, 3))
    return drawn.astype(np.float64) * (observed / drawn.sum(axis=3, dtype=np.float64))[..., None]


def tests_per_cluster(contributions: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mean number of each variant's predictions for a cluster that it was tested on, shape (V,).

    Args:
        contributions: shape (V, P, K, K).
    """
    tests = contributions.sum(axis=(2, 3))
    return tests.sum(axis=1) / np.maximum((tests > 0).sum(axis=1), 1, dtype=np.float32)


def interval(draws: FloatArray, level: float = 0.95) -> FloatArray:
    """Percentile interval over the first axis; draws in which the metric is undefined are left out.

    Args:
        draws: shape (draws, ...).
        level: coverage, in (0, 1).

    Returns:
        Shape (2, ...): lower and upper end; NaN where no draw is defined.
    """
    tail = 100.0 * (1.0 - level) / 2.0
    ends = [tail, 100.0 - tail]
    undefined = np.isnan(draws)
    if not undefined.any():
        return np.percentile(draws, ends, axis=0)
    columns = draws.reshape(len(draws), -1)
    result = np.full((2, columns.shape[1]), np.nan)
    for number, column in enumerate(columns.T):
        defined = column[~np.isnan(column)]
        if defined.size:
            result[:, number] = np.percentile(defined, ends)
    return result.reshape(2, *draws.shape[1:])
