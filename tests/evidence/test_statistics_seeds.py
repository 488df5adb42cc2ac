"""Seeds are replicates: what they may and may not say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stfmri.evidence import metrics
from stfmri.evidence.statistics import (
    against_chance,
    cluster_weights,
    confusion_draws,
    draws_of_one,
    networks_interval,
    reassigned_fold_scores,
    score_over_seeds,
    select_best,
    spread_parts,
)


def test_the_variance_components_are_those_worked_out_by_hand() -> None:
    # Two seeds in three folds. Means of folds 2, 5, 8: variance 9. Within: (2, 2, 2) each, so 2.
    # Between folds alone 9 - 2/2 = 8; seeds have 2 of 2 + 8.
    found = spread_parts([[1.0, 4.0, 7.0], [3.0, 6.0, 9.0]])
    assert found.over_folds == pytest.approx(3.0)
    assert found.over_seeds == pytest.approx(math.sqrt(2))
    assert found.folds_alone == pytest.approx(math.sqrt(8))
    assert found.share_of_seeds == pytest.approx(0.2)


def test_folds_that_seeds_explain_have_no_component_of_their_own() -> None:
    found = spread_parts([[0.4, 0.6], [0.6, 0.4]])
    assert (found.over_folds, found.folds_alone, found.share_of_seeds) == (0.0, 0.0, 1.0)


def test_what_takes_two_seeds_or_two_folds_is_undefined_without_them() -> None:
    one_seed, one_fold = spread_parts([[0.4, 0.6]]), spread_parts([[0.4], [0.6]])
    assert one_seed.over_folds == pytest.approx(math.sqrt(0.02))
    assert math.isnan(one_seed.over_seeds)
    assert math.isnan(one_fold.over_folds)
    assert one_fold.over_seeds == pytest.approx(math.sqrt(0.02))
    assert math.isnan(spread_parts([[np.nan], [0.6]]).over_seeds)


def contributions_of(generator: np.random.Generator, seeds: int, patients: int) -> np.ndarray:
    """Two classes, each patient tested once by each seed, which guess by themselves."""
    label = np.arange(patients) % 2
    counts = np.zeros((seeds, patients, 2, 2))
    for seed in range(seeds):
        right = generator.random(patients) < 0.7
        counts[seed, np.arange(patients), label, np.where(right, label, 1 - label)] = 1
    return counts


def test_identical_seeds_have_the_draws_of_one() -> None:
    one = contributions_of(np.random.default_rng(0), 1, 40)
    weights = cluster_weights(40, draws=200)
    alone = metrics.macro_f1(confusion_draws(one, weights))
    three = np.repeat(one, 3, axis=0)
    drawn = metrics.macro_f1(confusion_draws(three, weights, streams=[0, 0, 0]))
    np.testing.assert_allclose(drawn, np.repeat(alone, 3, axis=1), rtol=1e-6)
    np.testing.assert_allclose(draws_of_one(drawn.T), alone[:, 0], rtol=1e-6)


def test_seeds_of_noise_count_as_no_further_patients() -> None:
    counts = contributions_of(np.random.default_rng(1), 8, 60)
    drawn = metrics.macro_f1(
        confusion_draws(counts, cluster_weights(60, draws=500), streams=[0] * 8)
    )
    scores = metrics.macro_f1(counts.sum(axis=1))
    low, high = networks_interval(scores.mean(), draws_of_one(drawn.T))
    alone = networks_interval(scores, drawn)
    assert high - low == pytest.approx((alone[1] - alone[0]).mean(), rel=0.1)
    # Which the plain mean would not do.
    assert np.ptp(np.percentile(drawn.mean(axis=1), [2.5, 97.5])) < 0.6 * (high - low)


def test_a_score_over_seeds_is_the_mean_of_each_contestants_trainings() -> None:
    counts = np.random.default_rng(2).integers(1, 9, (5, 4, 3, 3))
    plain = metrics.macro_f1(counts)
    score = score_over_seeds(metrics.macro_f1, np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(score(counts)[:, 0], plain[:, :3].mean(axis=1))
    np.testing.assert_allclose(score(counts)[:, 1], plain[:, 3])


def test_tests_of_identical_seeds_are_those_of_one() -> None:
    generator = np.random.default_rng(3)
    two = contributions_of(generator, 2, 30)
    # One fold each half.
    counts = np.zeros((2, 2, 30, 2, 2))
    counts[:, 0, :15], counts[:, 1, 15:] = two[:, :15], two[:, 15:]
    several, owner = counts[[0, 0, 0, 1]], np.array([0, 0, 0, 1])
    score = score_over_seeds(metrics.accuracy, owner)
    for once, again in (
        (
            reassigned_fold_scores(counts, metrics.accuracy, times=20),
            reassigned_fold_scores(several, score, times=20),
        ),
        (
            against_chance(two, metrics.accuracy, draws=100).p_adjusted,
            against_chance(two[owner], score, draws=100).p_adjusted,
        ),
        (
            select_best(counts, metrics.accuracy, resample_folds=False, draws=100).corrected,
            select_best(several, score, resample_folds=False, draws=100).corrected,
        ),
    ):
        # Ties between contestants are broken at random.
        np.testing.assert_allclose(again, once, rtol=0.01)
