from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from stfmri.evidence import metrics
from stfmri.evidence.metrics import Scores, curves
from stfmri.evidence.metrics import scores as score_metrics

DRAWS = 3
SCORED = [metric for metric in metrics.METRICS if metric.from_scores]


@st.composite
def weighted_scores(draw: st.DrawFn) -> tuple[Scores, np.ndarray]:
    """Up to three folds of 2–4 classes, with ties, absent classes and weights of zero."""
    classes = draw(st.integers(2, 4))
    size = draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    present = generator.choice(classes, size=draw(st.integers(1, classes)), replace=False)
    # Eighths tie often, among themselves and at 0 and 1; the last column makes the rows sum to 1.
    if draw(st.booleans()):
        probability = generator.multinomial(8, np.full(classes, 1 / classes), size=size) / 8.0
    else:
        probability = generator.dirichlet(np.ones(classes), size=size)
    scores = Scores(
        generator.choice(present, size=size),
        probability,
        generator.integers(0, draw(st.integers(1, 3)), size=size),
    )
    return scores, generator.integers(0, 3, size=(DRAWS, size)).astype(float)


def of_folds(
    scores: Scores,
    weight: np.ndarray,
    number: int,
    of_fold: Callable[..., float],
    needs_others: bool,
) -> float:
    """Mean over folds of scikit-learn's value for one class, where it is defined."""
    values = []
    for fold in np.unique(scores.fold_N):
        chosen = scores.fold_N == fold
        member, given = scores.label_N[chosen] == number, weight[chosen]
        score = scores.probability_NK[chosen, number]
        if given[member].sum() and (given[~member].sum() or not needs_others):
            values.append(of_fold(member, score, sample_weight=given))
    return float(np.mean(values)) if values else np.nan


def expected(scores: Scores, weight: np.ndarray, name: str, classes: int) -> npt.ArrayLike:
    """What scikit-learn says, with `weight` as `sample_weight`."""
    label, probability = scores.label_N, scores.probability_NK
    if name in ("auc", "macro_auc"):
        ranked = [
            of_folds(scores, weight, k, reference.roc_auc_score, True) for k in range(classes)
        ]
    elif name in ("average_precision", "macro_average_precision"):
        ranked = [
            of_folds(scores, weight, k, reference.average_precision_score, False)
            for k in range(classes)
        ]
    elif not weight.sum():
        return np.nan
    elif name == "brier":
        return sum(
            reference.brier_score_loss(label == k, probability[:, k], sample_weight=weight)
            for k in range(classes)
        )
    elif name == "log_loss":
        return reference.log_loss(label, probability, sample_weight=weight, labels=range(classes))
    else:
        return expected_calibration_error(scores, weight)
    if not name.startswith("macro"):
        return ranked
    defined = [value for value in ranked if not np.isnan(value)]
    return np.mean(defined) if defined else np.nan


def expected_calibration_error(scores: Scores, weight: np.ndarray) -> float:
    """Guo et al.'s equation 3 bin by bin; a prediction of weight 2 is there twice."""
    twice = np.repeat(np.arange(len(weight)), weight.astype(int))
    confidence = scores.probability_NK[twice].max(axis=1)
    right = scores.probability_NK[twice].argmax(axis=1) == scores.label_N[twice]
    total = 0.0
    edges = np.linspace(0, 1, 16)
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.sum() * abs(right[inside].mean() - confidence[inside].mean())
    return total / len(twice)


@pytest.mark.parametrize("metric", SCORED, ids=lambda metric: metric.name)
@settings(max_examples=40)
@given(drawn=weighted_scores())
def test_every_score_equals_scikit_learns_with_and_without_weights(
    metric: metrics.Metric, drawn: tuple[Scores, np.ndarray]
) -> None:
    scores, weights = drawn
    weights[0] = 1.0
    assert metric.from_scores is not None
    found = metric.from_scores(scores, weights)
    classes = scores.probability_NK.shape[1]
    assert found.shape == ((DRAWS, classes) if metric.per_class else (DRAWS,))
    for values, weight in zip(found, weights, strict=True):
        close(values, expected(scores, weight, metric.name, classes))


@pytest.mark.parametrize("metric", SCORED, ids=lambda metric: metric.name)
@settings(max_examples=40)
@given(drawn=weighted_scores())
def test_a_weight_of_two_is_the_prediction_twice(
    metric: metrics.Metric, drawn: tuple[Scores, np.ndarray]
) -> None:
    scores, weights = drawn
    weights = weights + (weights.sum(axis=1, keepdims=True) == 0)
    assert metric.from_scores is not None
    rows = np.repeat(np.arange(len(scores.label_N)), weights[0].astype(int))
    repeated = Scores(scores.label_N[rows], scores.probability_NK[rows], scores.fold_N[rows])
    alone = metric.from_scores(repeated, np.ones((1, len(rows))))[0]
    close(metric.from_scores(scores, weights)[0], alone)


@pytest.mark.parametrize("metric", SCORED, ids=lambda metric: metric.name)
def test_draws_in_chunks_give_what_each_gives_alone(
    metric: metrics.Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_metrics, "CHUNK", 1)
    monkeypatch.setattr(score_metrics, "FEWEST_DRAWS", 3)
    scores = example(seed=1)
    weights = np.random.default_rng(2).integers(0, 3, size=(10, 90)).astype(np.float32)
    assert metric.from_scores is not None
    together = metric.from_scores(scores, weights)
    for values, weight in zip(together, weights, strict=True):
        close(values, metric.from_scores(scores, weight[np.newaxis])[0])


def test_all_scores_at_once_are_those_of_each_metric_alone() -> None:
    scores = example(seed=10)
    weights = np.random.default_rng(11).integers(0, 3, size=(7, 90))
    together = metrics.of_scores(scores, weights)
    assert list(together) == SCORED
    for metric, values in together.items():
        assert metric.from_scores is not None
        np.testing.assert_array_equal(values, metric.from_scores(scores, weights))


def test_without_predictions_every_score_is_undefined() -> None:
    none = Scores(np.zeros(0, dtype=int), np.zeros((0, 3)), np.zeros(0, dtype=int))
    for metric in SCORED:
        assert metric.from_scores is not None
        assert np.isnan(metric.from_scores(none, np.ones((2, 0)))).all(), metric.name


def test_the_order_of_predictions_of_different_folds_plays_no_part_in_rank_metrics() -> None:
    scores = example(seed=3)
    # Of another network with the same ranking, which is less sure of everything.
    unsure = np.where(scores.fold_N[:, np.newaxis] == 1, 0.1, 1.0) * scores.probability_NK
    moved = Scores(scores.label_N, unsure, scores.fold_N)
    is_first = scores.label_N == 0
    pooled = reference.roc_auc_score(is_first, scores.probability_NK[:, 0])
    assert reference.roc_auc_score(is_first, unsure[:, 0]) != pytest.approx(pooled, abs=0.01)
    for metric in (metrics.auc, metrics.average_precision):
        close(metric(moved, np.ones((1, 90))), metric(scores, np.ones((1, 90))))


def test_a_class_absent_from_one_fold_is_averaged_over_the_others() -> None:
    label = np.array([0, 1, 1, 0, 1, 1])
    fold = np.array([0, 0, 0, 1, 1, 1])
    first = np.array([0.9, 0.2, 0.1, 0.1, 0.5, 0.9])
    scores = Scores(label, np.column_stack([first, 1 - first]), fold)
    close(metrics.auc(scores, np.ones((1, 6))), [[0.5, 0.5]])
    # Without class 0 in fold 1 only fold 0 is left, where the ranking is perfect.
    close(metrics.auc(scores, [[1, 1, 1, 0, 1, 1]]), [[1.0, 1.0]])


def test_uniform_probabilities_have_the_scores_of_a_coin() -> None:
    scores = Scores(np.array([0, 1, 2, 2]), np.full((4, 3), 1 / 3), np.zeros(4, dtype=int))
    ones = np.ones((1, 4))
    close(metrics.macro_auc(scores, ones), [0.5])
    close(metrics.brier(scores, ones), [(2 / 3) ** 2 + 2 * (1 / 3) ** 2])
    close(metrics.log_loss(scores, ones), [np.log(3)])
    # Of equals the first class is predicted: one in four is right.
    close(metrics.ece(scores, ones), [1 / 3 - 1 / 4])


def test_a_sure_mistake_costs_36_and_not_infinity() -> None:
    scores = Scores(np.array([0]), np.array([[0.0, 1.0]]), np.array([0]))
    assert metrics.log_loss(scores, [[1.0]])[0] == pytest.approx(52 * np.log(2))
    assert metrics.brier(scores, [[1.0]])[0] == 2.0


@pytest.mark.parametrize("number", range(3))
def test_the_roc_curve_of_one_fold_is_scikit_learns(number: int) -> None:
    scores = example(seed=4, folds=1, ties=True)
    fpr, tpr, _ = reference.roc_curve(
        scores.label_N == number, scores.probability_NK[:, number], drop_intermediate=False
    )
    curve = curves.roc(scores, number)
    for x, value in zip(curve.x, curve.mean, strict=True):
        left, right = np.flatnonzero(fpr <= x)[-1], np.flatnonzero(fpr >= x)[0]
        if fpr[left] == x:
            assert value == pytest.approx(tpr[left], abs=1e-12)
        else:
            share = (x - fpr[left]) / (fpr[right] - fpr[left])
            line = tpr[left] + share * (tpr[right] - tpr[left])
            assert value == pytest.approx(line, abs=1e-12)
    np.testing.assert_array_equal(curve.low, curve.high)
    assert curve.folds == 1


@pytest.mark.parametrize("number", range(3))
def test_the_precision_recall_curve_of_one_fold_is_scikit_learns(number: int) -> None:
    scores = example(seed=5, folds=1, ties=True)
    precision, recall, _ = reference.precision_recall_curve(
        scores.label_N == number, scores.probability_NK[:, number]
    )
    curve = curves.precision_recall(scores, number)
    for x, value in zip(curve.x[1:], curve.mean[1:], strict=True):
        # From low thresholds to high, the last that still reaches the recall.
        assert value == pytest.approx(precision[np.flatnonzero(recall >= x)[-1]], abs=1e-12)


def test_the_area_under_the_mean_curves_is_the_mean_of_the_folds() -> None:
    scores = example(seed=6, size=6000)
    ones = np.ones((1, 6000))
    for number in range(3):
        curve = curves.roc(scores, number)
        area = reference.auc(curve.x, curve.mean)
        assert area == pytest.approx(metrics.auc(scores, ones)[0, number], abs=2e-3)
        mean = curves.precision_recall(scores, number).mean[1:].mean()
        expected = metrics.average_precision(scores, ones)[0, number]
        assert mean == pytest.approx(expected, abs=5e-3)


def test_the_band_is_the_lowest_and_the_highest_fold() -> None:
    scores = example(seed=7)
    for curve_of in (curves.roc, curves.precision_recall):
        alone = np.stack([curve_of(scores.of_fold(fold), 1).mean for fold in range(3)])
        curve = curve_of(scores, 1)
        np.testing.assert_array_equal(curve.low, alone.min(axis=0))
        np.testing.assert_array_equal(curve.high, alone.max(axis=0))
        close(curve.mean, alone.mean(axis=0))


def test_a_class_that_is_nowhere_has_no_curve() -> None:
    scores = example(seed=8)
    label_N = np.where(scores.label_N == 2, 0, scores.label_N)
    absent = Scores(label_N, scores.probability_NK, scores.fold_N)
    for curve in (curves.roc(absent, 2), curves.precision_recall(absent, 2)):
        assert curve.folds == 0
        assert np.isnan(curve.mean).all()


def test_reliability_bins_are_scikit_learns_and_sum_up_to_ece() -> None:
    scores = example(seed=9)
    bins = curves.reliability(scores)
    confidence = scores.probability_NK.max(axis=1)
    right = scores.probability_NK.argmax(axis=1) == scores.label_N
    true, predicted = calibration_curve(right, confidence, n_bins=15)
    filled = bins.count > 0
    close(bins.accuracy[filled], true)
    close(bins.confidence[filled], predicted)
    assert np.isnan(bins.accuracy[~filled]).all()
    assert bins.count.sum() == 90
    gap = np.abs(bins.accuracy - bins.confidence)[filled] @ bins.count[filled] / 90
    close(metrics.ece(scores, np.ones((1, 90))), [gap])


def example(seed: int, size: int = 90, folds: int = 3, ties: bool = False) -> Scores:
    """Three classes; probabilities that know something of the truth."""
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 3, size=size)
    probability = generator.dirichlet(np.ones(3), size=size) + 0.3 * np.eye(3)[label]
    probability /= probability.sum(axis=1, keepdims=True)
    if ties:
        probability = np.round(probability, 1)
    return Scores(label, probability, np.arange(size) % folds)


def close(found: npt.ArrayLike, expected: npt.ArrayLike) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=0, atol=1e-12)
