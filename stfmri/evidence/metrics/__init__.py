"""Metrics: one record each, from counts or from probabilities.

`METRICS` is the registry that tables, figures, summary.json and the report iterate over. A metric
of each class and one of all classes may share a name, as both accuracies do. `metrics.defined` says
what is undefined and how means treat it.
"""

from collections.abc import Sequence

from stfmri.evidence.metrics.counts import (
    COUNT_METRICS,
    accuracy,
    balanced_accuracy,
    class_accuracy,
    confusion_matrix,
    f1,
    kappa,
    macro_f1,
    macro_specificity,
    mcc,
    ovr_accuracy,
    precision,
    recall,
    row_shares,
    specificity,
    weighted_f1,
)
from stfmri.evidence.metrics.record import FloatArray, Metric, Scores
from stfmri.evidence.metrics.scores import (
    AUC,
    AVERAGE_PRECISION,
    SCORE_METRICS,
    auc,
    average_precision,
    brier,
    ece,
    log_loss,
    macro_auc,
    macro_average_precision,
    of_scores,
)

__all__ = [
    "AUC",
    "AVERAGE_PRECISION",
    "METRICS",
    "FloatArray",
    "Metric",
    "Scores",
    "accuracy",
    "auc",
    "average_precision",
    "balanced_accuracy",
    "brier",
    "by_name",
    "class_accuracy",
    "confusion_matrix",
    "ece",
    "f1",
    "kappa",
    "log_loss",
    "macro_auc",
    "macro_average_precision",
    "macro_f1",
    "macro_specificity",
    "mcc",
    "of_scores",
    "overall",
    "ovr_accuracy",
    "per_class",
    "precision",
    "recall",
    "row_shares",
    "specificity",
    "telling",
    "weighted_f1",
]

METRICS: tuple[Metric, ...] = (*COUNT_METRICS, *SCORE_METRICS)


def overall() -> tuple[Metric, ...]:
    """The metrics with one value for all classes, in the order of the registry."""
    return tuple(metric for metric in METRICS if not metric.per_class)


def per_class() -> tuple[Metric, ...]:
    """The metrics with one value for each class, in the order of the registry."""
    return tuple(metric for metric in METRICS if metric.per_class)


def telling(chosen: Sequence[Metric], classes: int) -> tuple[Metric, ...]:
    """Those of the chosen metrics that say something of their own of so many classes."""
    return tuple(metric for metric in chosen if classes > 2 or not metric.same_of_two)


def by_name(name: str, *, of_class: bool = False) -> Metric:
    """The metric called `name` in summary.json.

    Args:
        name: its key.
        of_class: whether the one of each class is meant, since names are unique only within the
            two kinds.

    Raises:
        KeyError: if there is none of that name.
    """
    for metric in per_class() if of_class else overall():
        if metric.name == name:
            return metric
    raise KeyError(name)
