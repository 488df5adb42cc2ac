"""Uncertainty: a bootstrap over patients, and the corrected resampled t-test over folds.

Scans of one patient are not independent, and with repeated random splits one patient is tested in
several folds. The bootstrap therefore draws patients with replacement, each with all of their
predictions in all folds, and recomputes a metric from the pooled confusion matrix of every draw.
Its interval is that of the *pooled* metric, not of the mean over folds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.multitest import multipletests

from stfmri.evidence.metrics import FloatArray

DRAWS = 2000
SEED = 0
# Patients are drawn for so many draws at once, which bounds the copy made on the way.
CHUNK = 250


class PatientBootstrap:
    """The same draws of patients for every variant, so that differences are paired.

    Attributes:
        weights: shape (draws, P), how often each patient is in each draw; rows sum to P. Float32,
            which holds whole numbers exactly up to 16 million predictions.
    """

    def __init__(self, patients: int, draws: int = DRAWS, seed: int = SEED) -> None:
        """Draw; `patients` is their number P, at least 1."""
        generator = np.random.default_rng(seed)
        equal = np.full(patients, 1.0 / patients)
        self.weights: npt.NDArray[np.float32] = np.empty((draws, patients), dtype=np.float32)
        for start in range(0, draws, CHUNK):
            size = min(CHUNK, draws - start)
            self.weights[start : start + size] = generator.multinomial(patients, equal, size=size)

    def confusions(self, contributions: npt.ArrayLike) -> FloatArray:
        """The pooled confusion matrix of every draw.

        Args:
            contributions: shape (P, K, K), the confusion matrix of each patient's predictions.

        Returns:
            Counts of shape (draws, K, K).
        """
        counts = np.asarray(contributions, dtype=np.float32)
        drawn = self.weights @ counts.reshape(len(counts), -1)
        return drawn.reshape(-1, *counts.shape[1:]).astype(np.float64)


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


@dataclass(frozen=True)
class TTest:
    """A corrected resampled t-test; `t` and `p` are NaN where they are undefined."""

    t: float
    degrees_of_freedom: int
    p: float


def corrected_resampled_t_test(
    differences: npt.ArrayLike, train_size: float, test_size: float
) -> TTest:
    """Test whether the mean difference between two variants over folds is zero.

    The training sets of the folds overlap, so the plain t-test finds differences that are not
    there. Nadeau & Bengio (2003) replace the factor 1/k of the variance by `1/k + n_test/n_train`.

    Args:
        differences: shape (k,), the difference of a metric in each fold, the same test set in each.
        train_size: mean number of training subjects of a fold.
        test_size: mean number of test subjects of a fold.

    Returns:
        Two-sided test with k - 1 degrees of freedom. Without any difference p is 1; it is
        undefined for fewer than two folds, and for a difference that is the same in all.
    """
    values = np.asarray(differences, dtype=np.float64)
    folds = values.size
    if folds < 2 or np.isnan(values).any():
        return TTest(float("nan"), max(folds - 1, 0), float("nan"))
    if not values.any():
        return TTest(0.0, folds - 1, 1.0)
    spread = values.std(ddof=1)
    # Differences that agree to the last digits have no spread to speak of, only rounding.
    if spread <= 1e-12 * np.abs(values).max():
        return TTest(float("nan"), folds - 1, float("nan"))
    t = values.mean() / (spread * np.sqrt(1.0 / folds + test_size / train_size))
    return TTest(float(t), folds - 1, float(2.0 * stats.t.sf(abs(t), folds - 1)))


def holm(p_values: npt.ArrayLike) -> FloatArray:
    """Holm's correction for several tests; undefined p-values stay so and do not count."""
    values = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(values.shape, np.nan)
    defined = ~np.isnan(values)
    if defined.any():
        corrected[defined] = multipletests(values[defined], method="holm")[1]
    return corrected
