"""Baselines that see no image: what a score must be set beside before it means anything.

Both are look-up tables fitted on the training part of each fold and give prediction tables like a
network's, so that they pass through the same metrics.

- `majority`: always the most frequent training class.
- `source_only`: the most frequent training class of the scan's `source` (its centre or study). On
  the paper's cohort this alone is right for 98.3 % of the scans, because the classes come from
  different sources.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from stfmri.evidence.cohort import Cohort
from stfmri.study.predictions import Prediction, PredictionTable, of_subject
from stfmri.study.splits import Subject

BASELINES: Mapping[str, Callable[[Subject], str]] = {
    "majority": lambda _: "",
    "source_only": lambda subject: subject.source,
}
BASELINE_LABELS: Mapping[str, str] = {
    "majority": "Majority class",
    "source_only": "Source only",
}


def baseline_table(name: str, cohort: Cohort, fold: int) -> PredictionTable:
    """Predict the test set of `fold` from its training labels.

    Args:
        name: a key of `BASELINES`.
        cohort: the subjects and folds.
        fold: number of the fold, from 0.

    Returns:
        One row for each test subject. The probabilities are the shares of the classes among the
        training subjects with the same key; a source that training never saw falls back to those
        of the whole training set. Ties go to the first class in order.
    """
    key = BASELINES[name]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    overall: Counter[str] = Counter()
    for subject_id in cohort.folds[fold].train:
        subject = cohort.subjects[subject_id]
        counts[key(subject)][subject.label] += 1
        overall[subject.label] += 1
    rows = tuple(
        _predict(cohort.subjects[subject_id], counts, overall, key, cohort.classes, fold)
        for subject_id in cohort.folds[fold].test
    )
    return PredictionTable(Path(f"{name}/fold{fold}"), cohort.classes, rows)


def _predict(
    subject: Subject,
    counts: Mapping[str, Counter[str]],
    overall: Counter[str],
    key: Callable[[Subject], str],
    classes: tuple[str, ...],
    fold: int,
) -> Prediction:
    """Look one test subject up."""
    seen = counts.get(key(subject), overall)
    total = seen.total()
    shares = tuple(seen[name] / total for name in classes)
    return of_subject(subject, fold, classes, shares)
