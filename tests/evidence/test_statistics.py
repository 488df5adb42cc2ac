"""Draws over patients and the two intervals of a score."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from stfmri.evidence import metrics
from stfmri.evidence.statistics import (
    cluster_weights,
    confusion_draws,
    extra_patients,
    interval,
    networks_interval,
    overlap_factor,
    precision_plan,
    procedure_interval,
    procedure_noise,
    procedure_variance,
    reassigned_fold_scores,
    wilson,
)


def one_variant(matrix: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Contributions of shape (1, P, K, K) of patients with one scan each, as many as counted."""
    counts = np.asarray(matrix)
    cells = np.repeat(np.arange(counts.size), counts.ravel())
    return np.eye(counts.size)[cells].reshape(1, -1, *counts.shape)


def simulated_counts(
    share_right: npt.NDArray[np.float64], patients: int, seed: int
) -> npt.NDArray[np.float64]:
    """Counts (V, k, P, 2, 2) of a k-fold study whose networks are right this often, (V, k)."""
    generator = np.random.default_rng(seed)
    variants, folds = share_right.shape
    counts = np.zeros((variants, folds, patients, 2, 2))
    for patient in range(patients):
        fold, label = patient % folds, (patient // folds) % 2
        right = generator.random(variants) < share_right[:, fold]
        predicted = np.where(right, label, 1 - label)
        counts[np.arange(variants), fold, patient, label, predicted] = 1
    return counts


def test_weights_are_seeded_positive_and_of_mean_one() -> None:
    weights = cluster_weights(50, draws=400)
    assert weights.shape == (400, 50)
    assert weights.dtype == np.float32
    assert (weights > 0).all()
    assert weights.mean() == pytest.approx(1.0, abs=0.03)
    np.testing.assert_array_equal(weights, cluster_weights(50, draws=400))
    assert not np.array_equal(weights, cluster_weights(50, draws=400, seed=1))


def test_no_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 cluster"):
        cluster_weights(0)


def test_contributions_of_other_patients_than_the_weights_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected contributions of shape \(V, 7, K, K\)"):
        confusion_draws(np.zeros((1, 6, 2, 2)), cluster_weights(7))


def test_drawn_rows_keep_the_tested_number_of_each_class() -> None:
    matrix = np.array([[20, 3, 1], [0, 0, 0], [2, 2, 9]])
    drawn = confusion_draws(one_variant(matrix), cluster_weights(37, draws=300))
    np.testing.assert_allclose(
        drawn.sum(axis=-1), np.broadcast_to([24.0, 0.0, 13.0], (300, 1, 3)), rtol=1e-6
    )


def test_a_drawn_recall_is_clopper_and_pearsons_two_beta_distributions_with_equal_chance() -> None:
    right, wrong = 17, 3
    weights = cluster_weights(right + wrong, draws=20_000)
    drawn = confusion_draws(one_variant([[right, wrong], [0, 0]]), weights)
    found = metrics.recall(drawn)[:, 0, 0]

    def mixture(share: npt.ArrayLike) -> npt.NDArray[np.float64]:
        upper = stats.beta.cdf(share, right + 1, wrong)
        return 0.5 * (upper + stats.beta.cdf(share, right, wrong + 1))

    assert stats.kstest(found, mixture).pvalue > 0.01


def test_perfect_predictions_have_an_interval_with_a_width_that_holds_one() -> None:
    contributions = one_variant(np.diag([7, 26, 26]))
    drawn = confusion_draws(contributions, cluster_weights(59))
    score = metrics.macro_f1(contributions.sum(axis=1))
    low, high = networks_interval(score, metrics.macro_f1(drawn))
    assert high[0] == 1.0
    # Of 7 right ones the exact 95 % interval begins at 0.59; F1 averages over three classes.
    assert 0.80 < low[0] < 0.95


def test_an_undefined_score_has_no_interval() -> None:
    assert np.isnan(networks_interval(np.nan, np.linspace(0.1, 0.9, 50))).all()


def test_variants_that_agree_on_all_patients_differ_little_and_not_for_certain_by_nothing() -> None:
    contributions = np.repeat(one_variant(np.diag([30, 30])), 2, axis=0)
    drawn = metrics.accuracy(confusion_draws(contributions, cluster_weights(60)))
    low, high = interval(drawn[:, 0] - drawn[:, 1])
    assert -0.1 < low < 0.0 < high < 0.1
    assert low == pytest.approx(-high, abs=0.01)


def test_an_additional_patient_of_each_class_is_right_in_half_of_the_draws() -> None:
    cells = extra_patients(streams=(0, 1), classes=3, draws=8000)
    assert ((cells > 0).sum(axis=-1) == 1).all()
    right = np.diagonal(cells, axis1=2, axis2=3) > 0
    assert right.mean() == pytest.approx(0.5, abs=0.01)
    # All variants see the same patient, and each predicts it alone.
    np.testing.assert_array_equal(cells[:, 0].sum(axis=-1), cells[:, 1].sum(axis=-1))
    assert (right[:, 0] == right[:, 1]).mean() == pytest.approx(0.5, abs=0.01)


def test_many_scans_of_one_patient_do_not_narrow_the_interval() -> None:
    few = one_variant([[30, 10], [5, 35]])
    weights = cluster_weights(80)
    narrow = interval(metrics.macro_f1(confusion_draws(few, weights)))
    np.testing.assert_allclose(
        interval(metrics.macro_f1(confusion_draws(25 * few, weights))), narrow, atol=1e-6
    )


def test_the_interval_of_recall_agrees_with_the_binomial_one() -> None:
    # 1,000 patients of a class, 80 % right: the normal approximation is ± 0.0248.
    drawn = confusion_draws(one_variant([[800, 200], [0, 0]]), cluster_weights(1000, draws=4000))
    low, high = interval(metrics.recall(drawn)[:, 0, 0])
    half = 1.96 * np.sqrt(0.8 * 0.2 / 1000)
    assert low == pytest.approx(0.8 - half, abs=0.003)
    assert high == pytest.approx(0.8 + half, abs=0.003)


def test_draws_without_a_value_are_left_out_of_the_interval() -> None:
    draws = np.array([[np.nan, np.nan], [0.0, np.nan], [1.0, np.nan]])
    low, high = interval(draws, level=0.5)
    np.testing.assert_allclose([low[0], high[0]], [0.25, 0.75])
    assert np.isnan([low[1], high[1]]).all()


def test_the_overlap_factor_by_hand() -> None:
    assert overlap_factor(3, train_size=413, test_size=178) == pytest.approx(1 / 3 + 178 / 413)
    assert overlap_factor(5, train_size=80, test_size=20) == pytest.approx(0.45)


def test_reassignment_keeps_sizes_classes_and_overlap_of_the_folds() -> None:
    generator = np.random.default_rng(3)
    tested = generator.random((3, 40)) < 0.4
    labels = generator.integers(0, 2, 40)
    counts = np.zeros((1, 3, 40, 2, 2))
    counts[0, :, np.arange(40), labels, labels] = tested.T

    def size_of_class_0(confusion: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return np.asarray(confusion, dtype=np.float64)[..., 0, :].sum(axis=-1)

    dealt = reassigned_fold_scores(counts, size_of_class_0, times=50)
    assert dealt.shape == (50, 1, 3)
    tests_of_class_0 = tested[:, labels == 0].sum()
    np.testing.assert_array_equal(dealt.sum(axis=2), np.full((50, 1), tests_of_class_0))


@pytest.mark.parametrize("paired", [False, True])
def test_networks_that_are_alike_have_no_excess_variance_on_average(paired: bool) -> None:
    excess, observed = [], []
    for seed in range(60):
        counts = simulated_counts(np.full((4, 5), 0.8), 200, seed)
        variance = procedure_variance(
            metrics.accuracy(counts.sum(axis=2)),
            reassigned_fold_scores(counts, metrics.accuracy, times=60),
            0.45,
            paired=paired,
        )
        excess.append((variance.observed - variance.explained).mean())
        observed.append(variance.observed.mean())
    assert np.mean(excess) == pytest.approx(0.0, abs=0.15 * np.mean(observed))
    # 40 patients a fold: variance 0.8 × 0.2 / 40.
    assert np.mean(observed) == pytest.approx(0.004, rel=0.15)


@pytest.mark.parametrize("paired", [False, True])
def test_the_excess_variance_is_that_of_training(paired: bool) -> None:
    generator = np.random.default_rng(5)
    excess = []
    for seed in range(60):
        shares = 0.8 + 0.08 * generator.choice([-1.0, 1.0], size=(4, 5))
        counts = simulated_counts(shares, 400, seed)
        variance = procedure_variance(
            metrics.accuracy(counts.sum(axis=2)),
            reassigned_fold_scores(counts, metrics.accuracy, times=40),
            0.45,
            paired=paired,
        )
        excess.append((variance.observed - variance.explained).mean())
    assert np.mean(excess) == pytest.approx(0.08**2, rel=0.15)


def test_paired_variance_leaves_out_what_is_common_to_a_fold() -> None:
    fold_scores = np.array([0.5, 0.7, 0.9]) + np.array([[0.0], [0.1], [0.3]])
    variance = procedure_variance(fold_scores, np.zeros((10, 3, 3)), 0.76, paired=True)
    np.testing.assert_allclose(variance.observed, 0.0, atol=1e-12)


def test_the_variance_of_a_difference_of_two_is_that_of_their_paired_folds() -> None:
    fold_scores = np.random.default_rng(8).normal(0.7, 0.1, size=(2, 4))
    variance = procedure_variance(fold_scores, np.zeros((5, 2, 4)), 0.45, paired=True)
    expected = np.var(fold_scores[0] - fold_scores[1], ddof=1)
    assert variance.observed.sum() == pytest.approx(expected)
    assert variance.degrees_of_freedom == 3


def test_many_variants_show_whether_their_variances_are_alike() -> None:
    generator = np.random.default_rng(9)
    spread = np.where(np.arange(200) < 100, 0.02, 0.2)[:, None]
    nothing = np.zeros((1, 200, 3))
    alike = procedure_variance(generator.normal(0, 0.1, (200, 3)), nothing, 0.7, paired=False)
    unlike = procedure_variance(
        spread * generator.normal(0, 1, (200, 3)), nothing, 0.7, paired=False
    )
    assert alike.degrees_of_freedom > 15
    np.testing.assert_allclose(alike.observed, 0.01, rtol=0.8)
    # 2 of a variant's own, 4 of the average one: the least.
    assert unlike.degrees_of_freedom == 6


def test_the_noise_of_known_variance_is_students_t() -> None:
    # One variant, no part explained by patients, 3 folds: t with 2 degrees of freedom.
    scores = np.array([[0.6, 0.7, 0.8]])
    variance = procedure_variance(scores, np.zeros((5, 1, 3)), 0.5, paired=False)
    noise = procedure_noise(variance, 20_000)[:, 0]
    scaled = noise / np.sqrt(0.5 * 0.01)
    assert stats.kstest(scaled, stats.t(2).cdf).pvalue > 0.01


def test_the_procedure_interval_is_wider_and_undefined_with_a_single_fold() -> None:
    counts = simulated_counts(np.array([[0.7, 0.8, 0.9, 0.8, 0.7]]), 200, 1)
    contributions = counts.sum(axis=1)
    score = metrics.accuracy(contributions.sum(axis=1))
    draws = metrics.accuracy(confusion_draws(contributions, cluster_weights(200)))
    folds = metrics.accuracy(counts.sum(axis=2))
    dealt = reassigned_fold_scores(counts, metrics.accuracy)
    networks = networks_interval(score, draws)
    variance = procedure_variance(folds, dealt, 0.45, paired=False)
    procedure = procedure_interval(score, draws, variance)
    assert procedure[0, 0] < networks[0, 0] < score[0] < networks[1, 0] < procedure[1, 0]
    assert (procedure >= 0).all()
    assert (procedure <= 1).all()
    single = procedure_variance(folds[:, :1], dealt[..., :1], 1.43, paired=False)
    assert np.isnan(procedure_interval(score, draws, single)).all()


def test_wilsons_interval_is_that_of_statsmodels_and_undefined_without_a_trial() -> None:
    found = wilson([0, 9, 40, 0], [12, 10, 50, 0])
    for number, (right, total) in enumerate([(0, 12), (9, 10), (40, 50)]):
        expected = proportion_confint(right, total, method="wilson")
        np.testing.assert_allclose(found[:, number], expected, atol=1e-12)
    assert np.isnan(found[:, 3]).all()
    with pytest.raises(ValueError, match="successes <= trials"):
        wilson(3, 2)


def test_four_times_the_patients_halve_an_interval_that_patients_alone_explain() -> None:
    plan = precision_plan(100, networks_half_width=0.06)
    assert (plan.target, plan.floor) == (0.03, 0.0)
    assert (plan.patients, plan.more) == (400, 300)


def test_what_training_explains_does_not_shrink_with_patients() -> None:
    # 0.05² = 0.04² + 0.03²; aimed at 0.04: 0.04² - 0.03² = 0.0007 of 0.0016 is left to patients.
    plan = precision_plan(70, 0.04, 0.05, shrink=0.8)
    assert plan.floor == pytest.approx(0.03)
    assert plan.patients == 160
    assert precision_plan(70, 0.04, 0.05).patients == float("inf")
    with pytest.raises(ValueError, match="0 < shrink < 1"):
        precision_plan(70, 0.04, shrink=1.0)
