from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from stfmri.evidence import metrics

CLASSES = ("LGG", "HGG", "Healthy")
# What the authors' released code collected; rows are true LGG, HGG, Healthy.
AUTHORS = np.array([[399, 1767, 138], [306, 7033, 149], [61, 148, 6991]])

# Every metric of confusion matrices.
COUNTED = [metric.from_counts for metric in metrics.METRICS if metric.from_counts]

pairs = st.lists(
    st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=40
)


@given(pairs)
def test_every_metric_equals_scikit_learns(drawn: list[tuple[str, str]]) -> None:
    labels, predicted = zip(*drawn, strict=True)
    counts = metrics.confusion_matrix(labels, predicted, CLASSES)
    np.testing.assert_array_equal(
        counts, reference.confusion_matrix(labels, predicted, labels=CLASSES)
    )
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        labels, predicted, labels=CLASSES, zero_division=np.nan
    )
    close(metrics.precision(counts), precision)
    close(metrics.recall(counts), recall)
    close(metrics.f1(counts), f1)
    close(metrics.macro_f1(counts), reference.f1_score(labels, predicted, average="macro"))
    weighted = reference.f1_score(labels, predicted, average="weighted")
    close(metrics.weighted_f1(counts), weighted)
    close(metrics.accuracy(counts), reference.accuracy_score(labels, predicted))
    with warnings.catch_warnings():
        # scikit-learn warns of predicted classes that never occur; we leave them out as it does.
        warnings.simplefilter("ignore", UserWarning)
        balanced = reference.balanced_accuracy_score(labels, predicted)
    close(metrics.balanced_accuracy(counts), balanced)
    # scikit-learn calls both 0 or 1 where nothing varies; here they are undefined.
    if len(set(labels)) > 1 and len(set(predicted)) > 1:
        close(metrics.mcc(counts), reference.matthews_corrcoef(labels, predicted))
    if len({*labels, *predicted}) > 1:
        close(metrics.kappa(counts), reference.cohen_kappa_score(labels, predicted))


@given(pairs)
def test_specificity_and_one_versus_rest_accuracy_equal_counts_by_hand(
    drawn: list[tuple[str, str]],
) -> None:
    labels, predicted = zip(*drawn, strict=True)
    counts = metrics.confusion_matrix(labels, predicted, CLASSES)
    for number, name in enumerate(CLASSES):
        negatives = [pair for pair in drawn if pair[0] != name]
        kept = sum(1 for _, guess in negatives if guess != name)
        agreed = sum(1 for label, guess in drawn if (label == name) == (guess == name))
        close(metrics.specificity(counts)[number], kept / len(negatives) if negatives else np.nan)
        close(metrics.class_accuracy(counts)[number], agreed / len(drawn))
    close(metrics.ovr_accuracy(counts), metrics.class_accuracy(counts).mean())


def test_the_authors_matrix_gives_lgg_recall_0_173_and_macro_f1_0_694() -> None:
    assert metrics.recall(AUTHORS)[0] == pytest.approx(0.173, abs=5e-4)
    assert metrics.macro_f1(AUTHORS) == pytest.approx(0.694, abs=5e-4)


def test_specificity_of_the_authors_matrix_by_hand() -> None:
    # Not LGG: 7488 HGG and 7200 Healthy, of which 306 and 61 were taken for LGG.
    assert metrics.specificity(AUTHORS)[0] == pytest.approx((14688 - 367) / 14688, abs=1e-12)


def test_transposing_the_matrix_swaps_precision_and_recall() -> None:
    close(metrics.precision(AUTHORS.T), metrics.recall(AUTHORS))


def test_a_stack_of_matrices_gives_what_each_gives_alone() -> None:
    stack = np.random.default_rng(0).integers(0, 5, size=(4, 2, 3, 3))
    for metric in COUNTED:
        together = metric(stack)
        for first in range(4):
            for second in range(2):
                close(together[first, second], metric(stack[first, second]))


def test_a_class_never_predicted_has_no_precision_but_an_f1_of_zero() -> None:
    counts = [[0, 2], [0, 3]]
    assert np.isnan(metrics.precision(counts)[0])
    assert metrics.f1(counts)[0] == 0.0


def test_an_empty_matrix_leaves_everything_undefined() -> None:
    for metric in COUNTED:
        assert np.isnan(metric(np.zeros((3, 3)))).all()


def test_two_classes_have_one_accuracy_under_both_names() -> None:
    counts = [[5, 2], [1, 7]]
    assert metrics.ovr_accuracy(counts) == pytest.approx(metrics.accuracy(counts), abs=1e-12)


def test_always_naming_one_class_leaves_matthews_correlation_undefined_and_kappa_zero() -> None:
    counts = [[0, 4], [0, 6]]
    assert np.isnan(metrics.mcc(counts))
    assert metrics.kappa(counts) == 0.0


def test_names_are_unique_among_overall_and_among_per_class_metrics() -> None:
    for chosen in (metrics.overall(), metrics.per_class()):
        names = [metric.name for metric in chosen]
        assert len(set(names)) == len(names)
    assert len(metrics.overall()) + len(metrics.per_class()) == len(metrics.METRICS)


def test_accuracy_is_found_under_its_name_in_both_kinds() -> None:
    assert metrics.by_name("accuracy").from_counts is metrics.accuracy
    assert metrics.by_name("accuracy", of_class=True).from_counts is metrics.class_accuracy
    with pytest.raises(KeyError, match="auc"):
        metrics.by_name("auc")


def test_a_metric_comes_from_counts_or_from_scores_and_not_from_both() -> None:
    with pytest.raises(ValueError, match="found neither"):
        metrics.Metric("m", "M", "A metric.", per_class=False)
    with pytest.raises(ValueError, match="found both"):
        metrics.Metric("m", "M", "A metric.", False, metrics.accuracy, metrics.brier)


@given(pairs)
def test_every_metric_of_counts_stays_within_its_bounds(drawn: list[tuple[str, str]]) -> None:
    counts = metrics.confusion_matrix(*zip(*drawn, strict=True), CLASSES)
    for metric in metrics.METRICS:
        if metric.from_counts:
            values = metric.from_counts(counts)
            assert values.shape == ((3,) if metric.per_class else ())
            low, high = metric.bounds
            assert ((values >= low - 1e-12) & (values <= high + 1e-12) | np.isnan(values)).all()


def test_anything_but_a_square_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="K, K"):
        metrics.f1(np.zeros((2, 3)))


def close(found: object, expected: object) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
