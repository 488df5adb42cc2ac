"""Tests against published formulas, other libraries and figures worked out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats import contingency_tables

from stfmri.evidence import metrics
from stfmri.evidence.statistics import (
    against_chance,
    auc_interval,
    cohens_h,
    corrected_resampled_t_test,
    delong,
    delong_test,
    double_use,
    holm,
    mcnemar,
)
from stfmri.evidence.statistics.bootstrap import Score


def slow_delong(
    positive: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Areas and covariance by the double sums of DeLong et al. 1988, equations 2 and 4 to 8."""
    first, second = scores[:, positive], scores[:, ~positive]
    variants, m, n = len(scores), first.shape[1], second.shape[1]
    kernel = np.zeros((variants, m, n))
    for variant in range(variants):
        for i in range(m):
            for j in range(n):
                x, y = first[variant, i], second[variant, j]
                kernel[variant, i, j] = 1.0 if x > y else 0.5 if x == y else 0.0
    areas = kernel.mean(axis=(1, 2))
    covariance = np.zeros((variants, variants))
    for a in range(variants):
        for b in range(variants):
            of_positives = sum(
                (kernel[a, i].mean() - areas[a]) * (kernel[b, i].mean() - areas[b])
                for i in range(m)
            )
            of_negatives = sum(
                (kernel[a, :, j].mean() - areas[a]) * (kernel[b, :, j].mean() - areas[b])
                for j in range(n)
            )
            covariance[a, b] = of_positives / (m - 1) / m + of_negatives / (n - 1) / n
    return areas, covariance


@pytest.fixture
def scored() -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Forty patients and three variants, with ties."""
    generator = np.random.default_rng(0)
    positive = np.arange(40) < 15
    scores = np.round(generator.normal(size=(3, 40)) + 0.8 * positive, 1)
    return positive, scores


def test_without_overlap_the_corrected_test_is_the_plain_t_test() -> None:
    differences = [0.03, 0.01, 0.05, -0.01]
    found = corrected_resampled_t_test(differences, train_size=1e12, test_size=1)
    expected = stats.ttest_1samp(differences, 0.0)
    assert found.t == pytest.approx(expected.statistic, rel=1e-9)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)


def test_the_corrected_test_by_hand() -> None:
    # Mean 0.03, variance 0.0004; the factor is 1/3 + 20/80, so t = 0.03 / sqrt(0.0004 × 7/12).
    found = corrected_resampled_t_test([0.03, 0.01, 0.05], train_size=80, test_size=20)
    assert found.t == pytest.approx(1.963961, abs=1e-6)
    assert found.degrees_of_freedom == 2
    # With 2 degrees of freedom p = 1 - t / sqrt(t² + 2).
    assert found.p == pytest.approx(1 - 1.963961 / np.sqrt(1.963961**2 + 2), abs=1e-6)


def published_t_test(
    differences: npt.NDArray[np.float64], n_train: int, n_test: int
) -> tuple[float, float]:
    """The formula that scikit-learn's example on comparing models gives, two-sided here.

    "Statistical comparison of models using grid search", in its documentation; R's package
    correctR has it as `resampled_ttest`.
    """
    runs = len(differences)
    error = np.sqrt(np.var(differences, ddof=1) * (1 / runs + n_test / n_train))
    t = np.mean(differences) / error
    return t, 2 * stats.t.sf(np.abs(t), runs - 1)


@pytest.mark.parametrize("folds", [3, 5, 12])
def test_the_corrected_test_is_that_of_public_code(folds: int) -> None:
    differences = np.random.default_rng(folds).normal(0.02, 0.05, folds)
    found = corrected_resampled_t_test(differences, train_size=413, test_size=178)
    assert (found.t, found.p) == pytest.approx(published_t_test(differences, 413, 178), rel=1e-9)


def test_what_cannot_be_tested_is_undefined() -> None:
    assert np.isnan(corrected_resampled_t_test([0.1], 70, 30).p)
    assert np.isnan(corrected_resampled_t_test([0.1, 0.1, 0.1], 70, 30).p)
    assert corrected_resampled_t_test([0.0, 0.0, 0.0], 70, 30).p == 1.0


def test_holms_correction_by_hand_and_blind_to_the_undefined() -> None:
    found = holm([0.01, np.nan, 0.04, 0.03])
    np.testing.assert_allclose(found, [0.03, np.nan, 0.06, 0.06], atol=1e-12)


@pytest.mark.parametrize(("only_first", "only_second"), [(8, 1), (3, 3), (30, 52), (0, 5)])
@pytest.mark.parametrize("exact", [True, False])
def test_mcnemars_test_is_that_of_statsmodels(
    only_first: int, only_second: int, exact: bool
) -> None:
    first = np.repeat([True, False, True, False], [only_first, only_second, 20, 7])
    second = np.repeat([False, True, True, False], [only_first, only_second, 20, 7])
    found = mcnemar(first, second, exact_up_to=1000 if exact else 0)
    table = [[20, only_first], [only_second, 7]]
    expected = contingency_tables.mcnemar(table, exact=exact, correction=True).pvalue
    assert found.exact is exact
    assert (found.only_first, found.only_second) == (only_first, only_second)
    if only_first == only_second and not exact:
        # statsmodels squares |0| - 1; Edwards' correction does not go below 0.
        assert found.p == 1.0
    else:
        assert found.p == pytest.approx(expected, abs=1e-12)


def test_variants_that_are_right_on_the_same_patients_do_not_differ() -> None:
    assert mcnemar([True, False, True], [True, False, True]).p == 1.0
    with pytest.raises(ValueError, match="two arrays of shape"):
        mcnemar([True], [True, False])


def test_delongs_areas_and_covariance_are_those_of_the_published_formulas(
    scored: tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]],
) -> None:
    positive, scores = scored
    found = delong(positive, scores)
    areas, covariance = slow_delong(positive, scores)
    np.testing.assert_allclose(found.auc, areas, atol=1e-12)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-12)
    np.testing.assert_allclose(found.auc, [roc_auc_score(positive, one) for one in scores])


def test_delongs_test_is_the_difference_over_its_standard_error(
    scored: tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]],
) -> None:
    positive, scores = scored
    areas, covariance = slow_delong(positive, scores)
    found = delong_test(positive, scores[0], scores[1])
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert found.z == pytest.approx((areas[0] - areas[1]) / error)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(found.z)))
    same = delong_test(positive, scores[0], scores[0])
    assert (same.difference, same.p) == (0.0, 1.0)


def test_delong_refuses_what_has_no_area() -> None:
    with pytest.raises(ValueError, match="patients of both kinds"):
        delong([True, True], [0.1, 0.2])
    with pytest.raises(ValueError, match="without NaN"):
        delong([True, False], [0.1, np.nan])


def test_newcombes_interval_solves_its_equation_and_has_a_width_at_one() -> None:
    low, high = auc_interval(0.8, positives=20, negatives=30)
    for area in (low, high):
        inner = 1 + 24 * (1 - area) / (2 - area) + 24 * area / (1 + area)
        error = np.sqrt(area * (1 - area) * inner / (20 * 30))
        assert abs(area - 0.8) == pytest.approx(1.959964 * error, rel=1e-6)
    low, high = auc_interval(1.0, positives=20, negatives=30)
    assert 0.8 < low < 0.95
    assert high == 1.0
    np.testing.assert_allclose(auc_interval(0.0, 20, 30), [0.0, 1.0 - low], atol=1e-9)


def alone(counts: npt.NDArray[np.float64], metric: Score, draws: int) -> float:
    """The p-value of a single contestant; alone, its adjusted one is the same."""
    found = against_chance(counts[None], metric, draws=draws)
    assert found.p[0] == found.p_adjusted[0]
    return float(found.p[0])


def test_the_best_of_twenty_guesses_is_not_above_chance() -> None:
    generator = np.random.default_rng(8)
    significant, adjusted = 0, 0
    for _ in range(100):
        counts = np.zeros((20, 60, 3, 3))
        label = np.arange(60) % 3
        for variant in counts:
            variant[np.arange(60), label, generator.integers(0, 3, 60)] = 1
        found = against_chance(counts, metrics.macro_f1, draws=200)
        significant += int((found.p < 0.05).any())
        adjusted += int((found.p_adjusted < 0.05).any())
    assert significant > 40
    assert adjusted <= 11


def test_for_guessing_the_permutation_p_is_uniform() -> None:
    generator = np.random.default_rng(4)
    p = []
    for _ in range(300):
        counts = np.zeros((60, 3, 3))
        # Patients are tested once to three times, with the same guess each time.
        guess, label = generator.integers(0, 3, 60), generator.integers(0, 3, 60)
        counts[np.arange(60), label, guess] = generator.integers(1, 4, 60)
        p.append(alone(counts, metrics.balanced_accuracy, draws=200))
    assert stats.kstest(p, "uniform").pvalue > 0.01


STUDIES = 500


def slow_double_use(tested: npt.NDArray[np.bool_]) -> float:
    """By its definition, over all pairs."""
    both = own = 0
    for i, j in itertools.combinations(range(tested.shape[1]), 2):
        there = sum(fold[i] and not fold[j] for fold in tested)
        back = sum(fold[j] and not fold[i] for fold in tested)
        both += (there + back) ** 2
        own += there**2 + back**2
    return both / own


def test_double_use_is_counted_over_all_pairs() -> None:
    generator = np.random.default_rng(2)
    once = np.arange(12) % 4 == np.arange(4)[:, None]
    again = generator.permuted(once, axis=1)
    fold_of = generator.permutation(np.arange(12) % 3)
    repeated = np.concatenate([once, fold_of == np.arange(3)[:, None]])
    for tested in (once, repeated, again, once[:1], generator.random((5, 12)) < 0.3):
        assert double_use(tested) == pytest.approx(slow_double_use(tested))
    assert double_use(once) == double_use(repeated) == 2
    assert double_use(once[:1]) == 1


def test_a_fold_that_tests_everybody_was_trained_on_others() -> None:
    assert double_use(np.ones((1, 5), dtype=bool)) == 1


def choices_in_noise(generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """What ridge regression chooses in three folds of noise; counts (60, 2, 2)."""
    label = np.tile([0, 1], 30)
    values = generator.standard_normal((60, 400))
    counts = np.zeros((60, 2, 2))
    for fold in range(3):
        test = np.arange(60) // 2 % 3 == fold
        train = ~test
        kernel = values[train] @ values[train].T + 100 * np.eye(train.sum())
        weights = values[train].T @ np.linalg.solve(kernel, 2 * label[train] - 1)
        chosen = (values[test] @ weights > 0).astype(int)
        counts[np.flatnonzero(test), label[test], chosen] = 1
    return counts


def test_scores_of_exchanged_labels_are_drawn_away_from_their_mean() -> None:
    generator = np.random.default_rng(9)
    counts = np.zeros((40, 2, 2))
    counts[np.arange(40), np.arange(40) % 2, generator.integers(0, 2, 40)] = 1
    seen = []

    def accuracy(matrices: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        seen.append(metrics.accuracy(matrices))
        return seen[-1]

    found = against_chance(counts[None], accuracy, draws=500, variance_ratio=4.0)
    observed, permuted = seen
    assert found.mean[0] == pytest.approx(permuted.mean())
    beyond = permuted.mean() + 2 * (permuted - permuted.mean()) >= observed - 1e-9
    assert found.p[0] == (1 + beyond.sum()) / 501


def test_training_in_noise_is_not_called_better_than_chance_too_often() -> None:
    generator = np.random.default_rng(5)
    ratio = double_use(np.arange(60) // 2 % 3 == np.arange(3)[:, None])
    plain, allowed = [], []
    for _ in range(STUDIES):
        counts = choices_in_noise(generator)[None]
        for found, given in ((plain, 1.0), (allowed, ratio)):
            test = against_chance(counts, metrics.accuracy, draws=200, variance_ratio=given)
            found.append(float(test.p[0]))
    assert np.mean(np.array(plain) <= 0.01) > 0.015
    for level in (0.05, 0.01):
        most = level + 2 * np.sqrt(level * (1 - level) / STUDIES)  # two standard errors
        assert np.mean(np.array(allowed) <= level) <= most


def test_the_permutation_p_of_perfect_predictions_is_the_least_possible() -> None:
    counts = np.zeros((30, 3, 3))
    counts[np.arange(30), np.arange(30) % 3, np.arange(30) % 3] = 2
    assert alone(counts, metrics.macro_f1, draws=999) == pytest.approx(0.001)


def test_naming_one_class_for_all_is_not_above_chance() -> None:
    counts = np.zeros((30, 2, 2))
    counts[np.arange(30), np.arange(30) % 2, 0] = 1
    assert alone(counts, metrics.macro_f1, draws=500) == 1.0


def test_cohens_h_by_hand() -> None:
    # 2 asin(sqrt(0.75)) = 2π/3 and 2 asin(sqrt(0.5)) = π/2.
    assert cohens_h(0.75, 0.5) == pytest.approx(np.pi / 6)
    assert cohens_h(0.5, 0.75) == pytest.approx(-np.pi / 6)
    assert cohens_h(1.0, 0.0) == pytest.approx(np.pi)
