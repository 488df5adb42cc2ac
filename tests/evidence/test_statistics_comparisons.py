"""Families of differences, and the best of many variants."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from stfmri.evidence import metrics
from stfmri.evidence.statistics import (
    ProcedureVariance,
    against,
    all_pairs,
    cluster_weights,
    confusion_draws,
    networks_family,
    networks_interval,
    patients_degrees_of_freedom,
    procedure_variance,
    procedures_family,
    select_best,
)


def no_training_variance(variants: int) -> ProcedureVariance:
    nothing = np.zeros(variants)
    return ProcedureVariance(nothing, nothing, degrees_of_freedom=10, factor=0.5)


def noise_counts(variants: int, folds: int, patients: int, seed: int) -> npt.NDArray[np.float64]:
    """Counts (V, k, P, 3, 3) of variants that guess; each patient is tested in one fold."""
    generator = np.random.default_rng(seed)
    counts = np.zeros((variants, folds, patients, 3, 3))
    number = np.arange(patients)
    for variant in range(variants):
        guess = generator.integers(0, 3, patients)
        counts[variant, number % folds, number, number // folds % 3, guess] = 1
    return counts


def test_families_name_every_pair_once() -> None:
    np.testing.assert_array_equal(all_pairs(3), [[0, 1], [0, 2], [1, 2]])
    np.testing.assert_array_equal(against(2, 2), [[0, 2], [0, 3], [1, 2], [1, 3]])


def test_the_critical_value_of_all_pairs_is_tukeys() -> None:
    draws = np.random.default_rng(0).normal(0.5, 0.02, size=(20_000, 6))
    family = networks_family(draws.mean(axis=0), draws, all_pairs(6), np.inf)
    tukey = stats.studentized_range.ppf(0.95, 6, np.inf) / np.sqrt(2)
    assert family.critical == pytest.approx(tukey, abs=0.03)


def test_a_single_difference_has_the_plain_normal_interval_and_p() -> None:
    draws = np.random.default_rng(1).normal(0.5, 0.02, size=(20_000, 2))
    family = networks_family([0.56, 0.50], draws, all_pairs(2), np.inf)
    error = 0.02 * np.sqrt(2)
    assert family.standard_error[0] == pytest.approx(error, rel=0.02)
    assert family.low[0] == pytest.approx(0.06 - 1.96 * error, abs=0.002)
    assert family.high[0] == pytest.approx(0.06 + 1.96 * error, abs=0.002)
    assert family.p[0] == pytest.approx(2 * stats.norm.sf(0.06 / error), abs=0.005)


def test_few_patients_of_a_class_call_for_students_t() -> None:
    contributions = np.zeros((1, 22, 3, 3))
    labels = np.repeat([0, 1, 2], [4, 6, 12])
    contributions[0, np.arange(22), labels, 1] = 3
    # 3 / (1/4 + 1/6 + 1/12) = 6.
    freedom = patients_degrees_of_freedom(contributions)
    assert freedom == pytest.approx(6.0)
    draws = np.random.default_rng(1).normal(0.5, 0.02, size=(20_000, 2))
    family = networks_family([0.56, 0.50], draws, all_pairs(2), freedom)
    assert family.critical == pytest.approx(stats.t.isf(0.025, 6), abs=0.06)


def test_an_interval_leaves_out_zero_where_the_adjusted_p_is_below_five_percent() -> None:
    generator = np.random.default_rng(2)
    draws = generator.normal(0.5, 0.02, size=(2000, 8))
    family = networks_family(generator.normal(0.5, 0.05, 8), draws, all_pairs(8), np.inf)
    apart = (family.low > 0) | (family.high < 0)
    assert 0 < apart.sum() < len(apart)
    np.testing.assert_array_equal(apart, family.p <= 0.05)


def test_without_training_variance_procedures_are_compared_as_networks_are() -> None:
    draws = np.random.default_rng(3).normal(0.5, 0.02, size=(500, 4))
    scores = [0.50, 0.52, 0.55, 0.60]
    networks = networks_family(scores, draws, all_pairs(4), np.inf)
    procedures = procedures_family(scores, draws, no_training_variance(4), all_pairs(4))
    np.testing.assert_allclose(procedures.low, networks.low)
    np.testing.assert_allclose(procedures.p, networks.p)


def test_training_variance_widens_every_difference() -> None:
    draws = np.random.default_rng(3).normal(0.5, 0.02, size=(500, 3))
    scores = np.array([0.50, 0.52, 0.60])
    folds = scores[:, None] + np.random.default_rng(4).normal(0.0, 0.05, size=(3, 5))
    variance = procedure_variance(folds, np.zeros((9, 3, 5)), 0.45, paired=True)
    narrow = networks_family(scores, draws, all_pairs(3), np.inf)
    wide = procedures_family(scores, draws, variance, all_pairs(3))
    assert (wide.low < narrow.low).all()
    assert (wide.p >= narrow.p).all()


def test_procedures_of_a_single_fold_cannot_be_compared() -> None:
    draws = np.random.default_rng(3).normal(0.5, 0.02, size=(500, 3))
    scores = np.array([0.1, 0.5, 0.9])
    variance = procedure_variance(scores[:, None], np.zeros((9, 3, 1)), 1.4, paired=True)
    family = procedures_family(scores, draws, variance, all_pairs(3))
    np.testing.assert_allclose(family.difference, [-0.4, -0.8, -0.4])
    assert np.isnan(np.concatenate([family.low, family.high, family.p])).all()


def test_an_undefined_score_leaves_the_rest_of_the_family_alone() -> None:
    draws = np.random.default_rng(6).normal(0.5, 0.02, size=(500, 3))
    draws[:, 2] = np.nan
    family = networks_family([0.5, 0.6, np.nan], draws, all_pairs(3), np.inf)
    alone = networks_family([0.5, 0.6], draws[:, :2], all_pairs(2), np.inf)
    assert family.low[0] == pytest.approx(alone.low[0])
    assert np.isnan(family.p[1:]).all()


def test_among_equal_networks_a_difference_is_found_in_one_sweep_of_twenty() -> None:
    generator = np.random.default_rng(7)
    found = 0
    for _ in range(200):
        right = generator.random((5, 120)) < 0.7
        contributions = np.zeros((5, 120, 2, 2))
        contributions[:, :, 0, 0] = right
        contributions[:, :, 0, 1] = ~right
        draws = metrics.accuracy(confusion_draws(contributions, cluster_weights(120, draws=500)))
        family = networks_family(right.mean(axis=1), draws, all_pairs(5), 120)
        found += bool((family.p <= 0.05).any())
    # 5 % of 200 are 10; below 19 with a probability of 99 %.
    assert found < 19


@pytest.mark.parametrize(("folds", "resample_folds"), [(1, False), (3, True)])
def test_the_best_of_twenty_variants_of_noise_comes_out_at_chance(
    folds: int, resample_folds: bool
) -> None:
    observed, corrected = [], []
    for seed in range(25):
        counts = noise_counts(20, folds, 120, seed)
        best = select_best(counts, metrics.accuracy, resample_folds=resample_folds, draws=200)
        observed.append(best.score)
        corrected.append(best.corrected)
    assert np.mean(observed) > 0.39
    assert np.mean(corrected) == pytest.approx(1 / 3, abs=0.015)


def test_a_variant_that_is_far_better_keeps_its_score() -> None:
    counts = noise_counts(6, 3, 150, 0)
    counts[4] = 0
    patient = np.arange(150)
    counts[4, patient % 3, patient, patient // 3 % 3, patient // 3 % 3] = 1
    best = select_best(counts, metrics.macro_f1, resample_folds=True, draws=200)
    assert (best.leader, best.score) == (4, 1.0)
    assert best.optimism == pytest.approx(0.0, abs=1e-9)
    assert best.chosen[4] == 1.0


def test_a_single_variant_has_nothing_to_correct() -> None:
    counts = noise_counts(1, 3, 90, 0)
    best = select_best(counts, metrics.macro_f1, resample_folds=True, draws=100)
    assert best.optimism == pytest.approx(0.0, abs=1e-9)


def test_the_corrected_interval_reaches_further_down_by_the_optimism() -> None:
    counts = noise_counts(20, 1, 120, 3)
    best = select_best(counts, metrics.accuracy, resample_folds=False, draws=200)
    contributions = counts.sum(axis=1)
    draws = metrics.accuracy(confusion_draws(contributions, cluster_weights(120)))
    own = networks_interval(metrics.accuracy(contributions.sum(axis=1)), draws)[:, best.leader]
    low, high = best.interval(own)
    assert low == pytest.approx(own[0] - best.optimism)
    assert high == own[1]
    assert low < 1 / 3 < high
