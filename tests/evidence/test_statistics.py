from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stfmri.evidence import metrics
from stfmri.evidence.statistics import (
    PatientBootstrap,
    corrected_resampled_t_test,
    holm,
    interval,
)


def test_every_draw_has_as_many_patients_as_the_cohort() -> None:
    weights = PatientBootstrap(17, draws=600).weights
    assert weights.shape == (600, 17)
    np.testing.assert_array_equal(weights.sum(axis=1), 17)


def test_the_draws_are_the_same_every_time() -> None:
    np.testing.assert_array_equal(PatientBootstrap(9).weights, PatientBootstrap(9).weights)


def test_drawn_matrices_are_sums_over_the_drawn_patients() -> None:
    contributions = np.random.default_rng(1).integers(0, 4, size=(11, 3, 3))
    bootstrap = PatientBootstrap(11, draws=300)
    drawn = bootstrap.confusions(contributions)
    for draw in (0, 123, 299):
        patients = np.repeat(np.arange(11), bootstrap.weights[draw].astype(int))
        np.testing.assert_array_equal(drawn[draw], contributions[patients].sum(axis=0))


def test_the_interval_of_accuracy_agrees_with_the_binomial_one() -> None:
    # 1,000 patients of one scan each, 80 % right: the normal approximation is ± 0.0248.
    contributions = np.zeros((1000, 2, 2))
    contributions[:800, 0, 0] = 1
    contributions[800:, 0, 1] = 1
    drawn = PatientBootstrap(1000).confusions(contributions)
    low, high = interval(metrics.accuracy(drawn))
    half = 1.96 * np.sqrt(0.8 * 0.2 / 1000)
    assert low == pytest.approx(0.8 - half, abs=0.003)
    assert high == pytest.approx(0.8 + half, abs=0.003)


def test_many_scans_of_one_patient_do_not_narrow_the_interval() -> None:
    one_scan = np.zeros((40, 2, 2))
    one_scan[:30, 0, 0] = 1
    one_scan[30:, 0, 1] = 1
    bootstrap = PatientBootstrap(40)
    few = interval(metrics.accuracy(bootstrap.confusions(one_scan)))
    many = interval(metrics.accuracy(bootstrap.confusions(25 * one_scan)))
    np.testing.assert_allclose(few, many, atol=1e-12)


def test_draws_without_a_value_are_left_out_of_the_interval() -> None:
    draws = np.array([[np.nan, np.nan], [0.0, np.nan], [1.0, np.nan]])
    low, high = interval(draws, level=0.5)
    np.testing.assert_allclose([low[0], high[0]], [0.25, 0.75])
    assert np.isnan([low[1], high[1]]).all()


def test_without_overlap_the_corrected_test_is_the_plain_t_test() -> None:
    differences = [0.03, 0.01, 0.05, -0.01]
    found = corrected_resampled_t_test(differences, train_size=1e12, test_size=1)
    expected = stats.ttest_1samp(differences, 0.0)
    assert found.t == pytest.approx(expected.statistic, rel=1e-9)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)


def test_the_correction_divides_t_by_the_factor_of_nadeau_and_bengio() -> None:
    differences = [0.03, 0.01, 0.05]
    plain = stats.ttest_1samp(differences, 0.0).statistic
    found = corrected_resampled_t_test(differences, train_size=413, test_size=178)
    assert found.t == pytest.approx(plain * np.sqrt((1 / 3) / (1 / 3 + 178 / 413)), rel=1e-12)
    assert found.degrees_of_freedom == 2


def test_what_cannot_be_tested_is_undefined() -> None:
    assert np.isnan(corrected_resampled_t_test([0.1], 70, 30).p)
    assert np.isnan(corrected_resampled_t_test([0.1, 0.1, 0.1], 70, 30).p)
    assert corrected_resampled_t_test([0.0, 0.0, 0.0], 70, 30).p == 1.0


def test_holms_correction_by_hand_and_blind_to_the_undefined() -> None:
    found = holm([0.01, np.nan, 0.04, 0.03])
    np.testing.assert_allclose(found, [0.03, np.nan, 0.06, 0.06], atol=1e-12)
