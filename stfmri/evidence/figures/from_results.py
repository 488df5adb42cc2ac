"""The inputs of the figures from `summary.Results`."""

from __future__ import annotations

import numpy as np

from stfmri.evidence import metrics
from stfmri.evidence.figures.confusion import file_part
from stfmri.evidence.figures.inputs import (
    Category,
    ClassRow,
    ClassScores,
    Compared,
    Drawable,
    ForestRow,
    TrainedRuns,
)
from stfmri.evidence.lookups import baseline_table
from stfmri.evidence.predicted import Predicted, from_tables
from stfmri.evidence.references import their_place
from stfmri.evidence.summary import Results, Summary
from stfmri.evidence.tallies import read_run
from stfmri.study import history

_CLASS_METRICS = {
    "precision": "Precision",
    "recall": "Recall",
    "specificity": "Specificity",
    "f1": "F1",
}


def drawable_of(results: Results) -> Drawable:
    """Read the predictions again and put the estimates in the form that figures take."""
    ranked = results.ranked()
    baselines = sorted(
        results.baselines.values(), key=lambda one: -np.nan_to_num(one.overall["macro_f1"].pooled)
    )
    rows = [(one, Category.NETWORK) for one in ranked]
    rows += [(one, Category.LOOKUP) for one in baselines]
    classes = results.evidence.cohort.classes
    return Drawable(
        classes=classes,
        metric_label="Macro F1",
        variants=[_variant(one, results) for one in ranked],
        baselines=[Compared(_baseline(one, results), Category.LOOKUP) for one in baselines],
        forest=[_forest_row(one, category) for one, category in rows] if ranked else (),
        class_scores=ClassScores(
            tuple(_CLASS_METRICS.values()),
            [ClassRow(one.tally.label, category, _class_means(one)) for one, category in rows],
        ),
        training=[_trained(one, results) for one in ranked],
        remarks=_remarks(results),
    )


def _remarks(results: Results) -> dict[str, str]:
    """Where the cited study shows the same, by the name of the figure."""
    cited = results.evidence.cited
    remarks = {"classwise": their_place(cited, "class_heatmaps")}
    for summary in results.variants:
        if not summary.tally.extra:
            name = f"confusion_{file_part(summary.tally.name)}"
            remarks[name] = their_place(cited, "confusion", summary.tally.model)
    return remarks


def _forest_row(summary: Summary, category: Category) -> ForestRow:
    estimate = summary.overall["macro_f1"]
    ends = (estimate.low, estimate.high)
    folds = summary.fold_macro_f1.tolist()
    return ForestRow(summary.tally.label, category, estimate.pooled, folds, ends)


def _class_means(summary: Summary) -> metrics.FloatArray:
    """Means over folds, shape (K, M)."""
    return np.array(
        [[scores[name].mean for name in _CLASS_METRICS] for scores in summary.per_class.values()]
    )


def _variant(summary: Summary, results: Results) -> Predicted:
    tally, cohort = summary.tally, results.evidence.cohort
    tables = [
        read_run(record.run, cohort)
        for record in results.evidence.records
        if record.run.variant == tally.name and not record.missing_because
    ]
    return from_tables(tables, cohort, name=tally.name, label=tally.label, kind="network")


def _baseline(summary: Summary, results: Results) -> Predicted:
    tally, cohort = summary.tally, results.evidence.cohort
    tables = [baseline_table(tally.name, cohort, fold) for fold in tally.folds]
    return from_tables(tables, cohort, name=tally.name, label=tally.label, kind="baseline")


def _trained(summary: Summary, results: Results) -> TrainedRuns:
    folders = [
        record.run.folder
        for record in results.evidence.records
        if record.run.variant == summary.tally.name
    ]
    runs = [history.read(folder / history.FILE_NAME) for folder in folders]
    return TrainedRuns(summary.tally.label, runs)
