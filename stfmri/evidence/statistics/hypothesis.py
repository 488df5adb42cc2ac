"""Tests: over folds, of two sets of answers; Holm; an effect size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.multitest import multipletests

from stfmri.evidence.metrics import FloatArray
from stfmri.evidence.statistics.procedure import overlap_factor

# With more patients than this on whom two variants differ, McNemar's test is no longer exact.
EXACT_UP_TO = 1000


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
    there. Nadeau & Bengio (2003) replace the factor 1/k of the variance by `1/k + n_test/n_train`,
    as does `resampled_ttest` of the R package correctR.

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
    t = values.mean() / (spread * np.sqrt(overlap_factor(folds, train_size, test_size)))
    return TTest(float(t), folds - 1, float(2.0 * stats.t.sf(abs(t), folds - 1)))


def holm(p_values: npt.ArrayLike) -> FloatArray:
    """Holm's correction for several tests; undefined p-values stay so and do not count."""
    values = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(values.shape, np.nan)
    defined = ~np.isnan(values)
    if defined.any():
        corrected[defined] = multipletests(values[defined], method="holm")[1]
    return corrected


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two variants on the same patients.

    Attributes:
        only_first, only_second: patients whom only one of the two has right.
        p: two-sided.
        exact: whether `p` is binomial, not the continuity-corrected chi-square.
    """

    only_first: int
    only_second: int
    p: float
    exact: bool


def mcnemar(
    first_right: npt.ArrayLike, second_right: npt.ArrayLike, exact_up_to: int = EXACT_UP_TO
) -> McNemar:
    """Test whether two variants are right equally often, each patient being tested once.

    It speaks of these trained networks. Patients with several tests must not be counted several
    times: use `networks_family` for them.

    Args:
        first_right: shape (n,), whether the first variant is right on each patient.
        second_right: the same of the second.
        exact_up_to: number of patients on whom they differ above which the chi-square with
            Edwards' continuity correction is used.

    Raises:
        ValueError: where the shapes differ.
    """
    first, second = (np.asarray(right, dtype=bool) for right in (first_right, second_right))
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"expected two arrays of shape (n,), found {first.shape}, {second.shape}")
    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    differing = only_first + only_second
    if differing == 0:
        return McNemar(0, 0, 1.0, True)
    if differing <= exact_up_to:
        p = stats.binomtest(only_first, differing, 0.5).pvalue
        return McNemar(only_first, only_second, float(p), True)
    statistic = max(abs(only_first - only_second) - 1.0, 0.0) ** 2 / differing
    return McNemar(only_first, only_second, float(stats.chi2.sf(statistic, 1)), False)


def cohens_h(first: npt.ArrayLike, second: npt.ArrayLike) -> FloatArray:
    """Effect size of a difference of two proportions such as accuracies or recalls.

    The difference of `2 arcsin(sqrt(p))` (Cohen 1988, chapter 6): 0.2 is called small, 0.5 medium
    and 0.8 large. Unlike a difference divided by its spread over folds, it does not grow without
    bounds where few folds happen to agree.

    Args:
        first: proportions, in [0, 1].
        second: proportions, in [0, 1].

    Returns:
        Signed, in [-π, π]; NaN where either is.
    """
    angles = [
        2.0 * np.arcsin(np.sqrt(np.asarray(one, dtype=np.float64))) for one in (first, second)
    ]
    return np.asarray(angles[0] - angles[1])
