"""Metrics: one record each, from counts or from probabilities."""

from stfmri.evidence.metrics.counts import (
    OVERALL,
    PER_CLASS,
    FloatArray,
    accuracy,
    balanced_accuracy,
    class_accuracy,
    confusion_matrix,
    f1,
    macro_f1,
    macro_specificity,
    ovr_accuracy,
    precision,
    recall,
    row_shares,
    specificity,
    weighted_f1,
)
from stfmri.evidence.metrics.record import Metric, Scores

__all__ = [
    "OVERALL",
    "PER_CLASS",
    "FloatArray",
    "Metric",
    "Scores",
    "accuracy",
    "balanced_accuracy",
    "class_accuracy",
    "confusion_matrix",
    "f1",
    "macro_f1",
    "macro_specificity",
    "ovr_accuracy",
    "precision",
    "recall",
    "row_shares",
    "specificity",
    "weighted_f1",
]
