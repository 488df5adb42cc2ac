"""Classification metrics as pure functions of confusion matrices.

A confusion matrix is an array of counts of shape (..., K, K): rows are the true classes, columns
the predicted ones, and any leading axes (folds, bootstrap draws) are kept. Per-class metrics have
shape (..., K), the others (...). What is undefined is NaN; `metrics.defined` has the rule.

The definitions are scikit-learn's, with undefined left undefined:

- precision `TP / (TP + FP)`, recall (sensitivity) `TP / (TP + FN)`, specificity
  `TN / (TN + FP)`, F1 `2 TP / (2 TP + FP + FN)`, accuracy of one class `(TP + TN) / N`.
- macro F1 is the plain mean of the classes' F1, which is not the F1 of mean precision and mean
  recall (Opitz & Burst 2019). A class that occurs neither as truth nor as prediction has no F1
  and is left out of the mean.
- weighted F1 weighs the classes' F1 by their true counts.
- accuracy is the share of right predictions; one-versus-rest accuracy the mean over the classes
  of `(TP + TN) / N`, never the lower of the two.
- Matthews correlation and Cohen's kappa compare the right predictions with those expected by
  chance from the row and column sums; a prediction that is always the same class leaves Matthews
  correlation undefined.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stfmri.evidence.metrics.defined import mean_of_defined, ratio
from stfmri.evidence.metrics.record import FloatArray, Metric

# Successes and trials of proportions.
Proportion = tuple[FloatArray, FloatArray]


def confusion_matrix(
    labels: Sequence[str], predictions: Sequence[str], classes: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Count the pairs of true and predicted class.

    Args:
        labels: true class names, N of them.
        predictions: predicted class names, N of them.
        classes: the K class names; they give the order of rows and columns.

    Returns:
        Counts of shape (K, K), rows true.

    Raises:
        KeyError: if a name is not among `classes`.
        ValueError: if the two sequences differ in length.
    """
    index = {name: number for number, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for label, prediction in zip(labels, predictions, strict=True):
        counts[index[label], index[prediction]] += 1
    return counts


def precision(confusion: npt.ArrayLike) -> FloatArray:
    """Share of the predictions of a class that are right; shape (..., K), in [0, 1]."""
    counts = _counts(confusion)
    return ratio(_true_positives(counts), counts.sum(axis=-2))


def recall(confusion: npt.ArrayLike) -> FloatArray:
    """Share of the members of a class that are found; shape (..., K), in [0, 1]."""
    counts = _counts(confusion)
    return ratio(_true_positives(counts), counts.sum(axis=-1))


def specificity(confusion: npt.ArrayLike) -> FloatArray:
    """Share of the others that are not taken for a class; shape (..., K), in [0, 1]."""
    counts = _counts(confusion)
    others = counts.sum(axis=(-2, -1))[..., np.newaxis] - counts.sum(axis=-1)
    false_positives = counts.sum(axis=-2) - _true_positives(counts)
    return ratio(others - false_positives, others)


def f1(confusion: npt.ArrayLike) -> FloatArray:
    """Harmonic mean of precision and recall of each class; shape (..., K), in [0, 1]."""
    counts = _counts(confusion)
    return ratio(2 * _true_positives(counts), counts.sum(axis=-2) + counts.sum(axis=-1))


def class_accuracy(confusion: npt.ArrayLike) -> FloatArray:
    """Share of right answers to "this class or not?"; shape (..., K), in [0, 1]."""
    counts = _counts(confusion)
    total = counts.sum(axis=(-2, -1))[..., np.newaxis]
    wrong = counts.sum(axis=-2) + counts.sum(axis=-1) - 2 * _true_positives(counts)
    return ratio(total - wrong, np.broadcast_to(total, wrong.shape))


def macro_f1(confusion: npt.ArrayLike) -> FloatArray:
    """Plain mean of the classes' F1; shape (...), in [0, 1]."""
    return mean_of_defined(f1(confusion))


def weighted_f1(confusion: npt.ArrayLike) -> FloatArray:
    """Mean of the classes' F1, weighted by their true counts; shape (...), in [0, 1]."""
    counts = _counts(confusion)
    support = counts.sum(axis=-1)
    return ratio((np.nan_to_num(f1(counts)) * support).sum(axis=-1), support.sum(axis=-1))


def accuracy(confusion: npt.ArrayLike) -> FloatArray:
    """Share of right predictions among all; shape (...), in [0, 1]."""
    counts = _counts(confusion)
    return ratio(_true_positives(counts).sum(axis=-1), counts.sum(axis=(-2, -1)))


def ovr_accuracy(confusion: npt.ArrayLike) -> FloatArray:
    """Mean over the classes of the one-versus-rest accuracy; shape (...), in [0, 1]."""
    # All classes are undefined together, so the plain mean is right.
    return class_accuracy(confusion).mean(axis=-1)


def balanced_accuracy(confusion: npt.ArrayLike) -> FloatArray:
    """Mean recall of the classes that occur; shape (...), in [0, 1]."""
    return mean_of_defined(recall(confusion))


def macro_specificity(confusion: npt.ArrayLike) -> FloatArray:
    """Mean specificity over the classes; shape (...), in [0, 1]."""
    return mean_of_defined(specificity(confusion))


def mcc(confusion: npt.ArrayLike) -> FloatArray:
    """Matthews correlation of truth and prediction; shape (...), in [-1, 1].

    Source: Gorodkin (2004), Comparing two K-category assignments by a K-category correlation
    coefficient, equation 8.
    """
    right, expected, total, true_squared, predicted_squared = _agreement(_counts(confusion))
    spread = np.sqrt((total**2 - true_squared) * (total**2 - predicted_squared))
    return ratio(right * total - expected, spread)


def kappa(confusion: npt.ArrayLike) -> FloatArray:
    """Cohen's kappa, `(p_o - p_e) / (1 - p_e)`; shape (...), in [-1, 1].

    Source: Cohen (1960), A coefficient of agreement for nominal scales.
    """
    right, expected, total, _, _ = _agreement(_counts(confusion))
    return ratio(right * total - expected, total**2 - expected)


def row_shares(confusion: npt.ArrayLike) -> FloatArray:
    """Each row divided by its sum, for display; shape (..., K, K), NaN in rows without a scan."""
    counts = _counts(confusion)
    return ratio(counts, np.broadcast_to(counts.sum(axis=-1, keepdims=True), counts.shape))


def _counts(confusion: npt.ArrayLike) -> FloatArray:
    """The counts as float64, which holds them exactly and divides without overflow."""
    counts = np.asarray(confusion, dtype=np.float64)
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise ValueError(f"expected a confusion matrix of shape (..., K, K), found {counts.shape}")
    return counts


def _true_positives(counts: FloatArray) -> FloatArray:
    """The diagonal; shape (..., K)."""
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _agreement(counts: FloatArray) -> tuple[FloatArray, ...]:
    """Right predictions, expected ones times N, N, and the squared sums of rows and columns."""
    true, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    return (
        _true_positives(counts).sum(axis=-1),
        (true * predicted).sum(axis=-1),
        true.sum(axis=-1),
        (true**2).sum(axis=-1),
        (predicted**2).sum(axis=-1),
    )


def right_predictions(confusion: npt.ArrayLike) -> Proportion:
    """Right predictions of each class among its predictions; both (..., K)."""
    counts = _counts(confusion)
    return _true_positives(counts), counts.sum(axis=-2)


def found_members(confusion: npt.ArrayLike) -> Proportion:
    """Members of each class that are found among all of its members; both (..., K)."""
    counts = _counts(confusion)
    return _true_positives(counts), counts.sum(axis=-1)


def spared_others(confusion: npt.ArrayLike) -> Proportion:
    """Members of other classes that are not taken for a class among them all; both (..., K)."""
    counts = _counts(confusion)
    others = counts.sum(axis=(-2, -1))[..., np.newaxis] - counts.sum(axis=-1)
    return others - (counts.sum(axis=-2) - _true_positives(counts)), others


def right_of_class(confusion: npt.ArrayLike) -> Proportion:
    """Right answers to "this class or not?" among all; both (..., K)."""
    counts = _counts(confusion)
    total = np.broadcast_to(counts.sum(axis=(-2, -1))[..., np.newaxis], counts.shape[:-1])
    wrong = counts.sum(axis=-2) + counts.sum(axis=-1) - 2 * _true_positives(counts)
    return total - wrong, total


def right_in_all(confusion: npt.ArrayLike) -> Proportion:
    """Right predictions among all; both (...)."""
    counts = _counts(confusion)
    return _true_positives(counts).sum(axis=-1), counts.sum(axis=(-2, -1))


COUNT_METRICS: tuple[Metric, ...] = (
    Metric(
        "precision",
        "Precision",
        "Share of the predictions of a class that are right, TP/(TP+FP).",
        per_class=True,
        from_counts=precision,
        proportion=right_predictions,
    ),
    Metric(
        "recall",
        "Recall",
        "Share of the members of a class that are found, TP/(TP+FN); also called sensitivity.",
        per_class=True,
        from_counts=recall,
        proportion=found_members,
    ),
    Metric(
        "specificity",
        "Specificity",
        "Share of the other classes' members that are not taken for a class, TN/(TN+FP).",
        per_class=True,
        from_counts=specificity,
        proportion=spared_others,
    ),
    Metric(
        "f1",
        "F1",
        "Harmonic mean of precision and recall of a class, 2TP/(2TP+FP+FN).",
        per_class=True,
        from_counts=f1,
    ),
    Metric(
        "accuracy",
        "Accuracy (class against rest)",
        "Share of right answers to whether a scan is of a class, (TP+TN)/N.",
        per_class=True,
        from_counts=class_accuracy,
        proportion=right_of_class,
        same_of_two="accuracy",
    ),
    Metric(
        "macro_f1",
        "Macro F1",
        "Plain mean of the classes' F1; not the F1 of mean precision and mean recall.",
        per_class=False,
        from_counts=macro_f1,
    ),
    Metric(
        "weighted_f1",
        "Weighted F1",
        "Mean of the classes' F1, weighted by their true counts.",
        per_class=False,
        from_counts=weighted_f1,
    ),
    Metric(
        "accuracy",
        "Accuracy",
        "Share of right predictions.",
        per_class=False,
        table="accuracy",
        from_counts=accuracy,
        proportion=right_in_all,
    ),
    Metric(
        "ovr_accuracy",
        "Mean one-vs-rest accuracy",
        "Mean over the classes of (TP+TN)/N, each class against the rest; never below accuracy.",
        per_class=False,
        table="accuracy",
        from_counts=ovr_accuracy,
        same_of_two="accuracy",
    ),
    Metric(
        "balanced_accuracy",
        "Balanced accuracy",
        "Mean recall of the classes that occur.",
        per_class=False,
        table="accuracy",
        from_counts=balanced_accuracy,
    ),
    Metric(
        "macro_specificity",
        "Mean specificity",
        "Plain mean of the classes' specificity.",
        per_class=False,
        table="accuracy",
        from_counts=macro_specificity,
        same_of_two="balanced_accuracy",
    ),
    Metric(
        "mcc",
        "Matthews correlation",
        "Multi-class Matthews correlation of true and predicted class (Gorodkin 2004): 1 is "
        "perfect, 0 no better than chance.",
        per_class=False,
        table="agreement",
        from_counts=mcc,
        bounds=(-1.0, 1.0),
    ),
    Metric(
        "kappa",
        "Cohen's kappa",
        "Agreement of true and predicted class beyond what their frequencies give by chance "
        "(Cohen 1960): 1 is perfect, 0 no better than chance.",
        per_class=False,
        table="agreement",
        from_counts=kappa,
        bounds=(-1.0, 1.0),
    ),
)
