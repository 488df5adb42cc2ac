"""Classification metrics as pure functions of confusion matrices.

A confusion matrix is an array of counts of shape (..., K, K): rows are the true classes, columns
the predicted ones, and any leading axes (folds, bootstrap draws) are kept. Per-class metrics have
shape (..., K), the others (...). A quotient 0/0 is undefined and comes out as NaN.

The definitions are scikit-learn's, with undefined left undefined:

- precision `TP / (TP + FP)`, recall (sensitivity) `TP / (TP + FN)`, specificity
  `TN / (TN + FP)`, F1 `2 TP / (2 TP + FP + FN)`, accuracy of one class `(TP + TN) / N`.
- macro F1 is the plain mean of the classes' F1, which is not the F1 of mean precision and mean
  recall (Opitz & Burst 2019). A class that occurs neither as truth nor as prediction has no F1
  and is left out of the mean.
- weighted F1 weighs the classes' F1 by their true counts.
- accuracy is the share of right predictions; one-versus-rest accuracy the mean over the classes
  of `(TP + TN) / N`, never the lower of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Metric = Callable[[npt.ArrayLike], FloatArray]


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
    return _ratio(_true_positives(counts), counts.sum(axis=-2))


def recall(confusion: npt.ArrayLike) -> FloatArray:
    """Share of the members of a class that are found; shape (..., K), in [0, 1]."""
    counts = _counts(confusion)
    return _ratio(_true_positives(counts), counts.sum(axis=-1))


def specificity(confusion: npt.ArrayLike) -> FloatArray:
    """Share of the others that are not taken for a class; shape (..., K), in [0, 1]."""
    counts = _counts(confusion)
    others = counts.sum(axis=(-2, -1))[..., np.newaxis] - counts.sum(axis=-1)
    false_positives = counts.sum(axis=-2) - _true_positives(counts)
    return _ratio(others - false_positives, others)


def f1(confusion: npt.ArrayLike) -> FloatArray:
    """Harmonic mean of precision and recall of each class; shape (..., K), in [0, 1]."""
    counts = _counts(confusion)
    return _ratio(2 * _true_positives(counts), counts.sum(axis=-2) + counts.sum(axis=-1))


def class_accuracy(confusion: npt.ArrayLike) -> FloatArray:
    """Share of right answers to "this class or not?"; shape (..., K), in [0, 1]."""
    counts = _counts(confusion)
    total = counts.sum(axis=(-2, -1))[..., np.newaxis]
    wrong = counts.sum(axis=-2) + counts.sum(axis=-1) - 2 * _true_positives(counts)
    return _ratio(total - wrong, np.broadcast_to(total, wrong.shape))


def macro_f1(confusion: npt.ArrayLike) -> FloatArray:
    """Plain mean of the classes' F1; shape (...), in [0, 1]."""
    return _mean_of_defined(f1(confusion))


def weighted_f1(confusion: npt.ArrayLike) -> FloatArray:
    """Mean of the classes' F1, weighted by their true counts; shape (...), in [0, 1]."""
    counts = _counts(confusion)
    support = counts.sum(axis=-1)
    return _ratio((np.nan_to_num(f1(counts)) * support).sum(axis=-1), support.sum(axis=-1))


def accuracy(confusion: npt.ArrayLike) -> FloatArray:
    """Share of right predictions among all; shape (...), in [0, 1]."""
    counts = _counts(confusion)
    return _ratio(_true_positives(counts).sum(axis=-1), counts.sum(axis=(-2, -1)))


def ovr_accuracy(confusion: npt.ArrayLike) -> FloatArray:
    """Mean over the classes of the one-versus-rest accuracy; shape (...), in [0, 1]."""
    # All classes are undefined together, so the plain mean is right.
    return class_accuracy(confusion).mean(axis=-1)


def balanced_accuracy(confusion: npt.ArrayLike) -> FloatArray:
    """Mean recall of the classes that occur; shape (...), in [0, 1]."""
    return _mean_of_defined(recall(confusion))


def macro_specificity(confusion: npt.ArrayLike) -> FloatArray:
    """Mean specificity over the classes; shape (...), in [0, 1]."""
    return _mean_of_defined(specificity(confusion))


PER_CLASS: Mapping[str, Metric] = {
    "precision": precision,
    "recall": recall,
    "specificity": specificity,
    "f1": f1,
    "accuracy": class_accuracy,
}
OVERALL: Mapping[str, Metric] = {
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "accuracy": accuracy,
    "ovr_accuracy": ovr_accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_specificity": macro_specificity,
}


def row_shares(confusion: npt.ArrayLike) -> FloatArray:
    """Each row divided by its sum, for display; shape (..., K, K), NaN in rows without a scan."""
    counts = _counts(confusion)
    return _ratio(counts, np.broadcast_to(counts.sum(axis=-1, keepdims=True), counts.shape))


def _counts(confusion: npt.ArrayLike) -> FloatArray:
    """The counts as float64, which holds them exactly and divides without overflow."""
    counts = np.asarray(confusion, dtype=np.float64)
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise ValueError(f"expected a confusion matrix of shape (..., K, K), found {counts.shape}")
    return counts


def _true_positives(counts: FloatArray) -> FloatArray:
    """The diagonal; shape (..., K)."""
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide, with NaN where the denominator is zero."""
    undefined = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=np.asarray(denominator) != 0)


def _mean_of_defined(values: FloatArray) -> FloatArray:
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(float))
