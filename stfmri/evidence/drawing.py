"""What figures are drawn from, out of the results."""

from __future__ import annotations

import math

import numpy as np

from stfmri.evidence import metrics
from stfmri.evidence.estimates import PRIMARY, Results, Summary
from stfmri.evidence.figures.confusion import file_part
from stfmri.evidence.figures.inputs import (
    Category,
    ClassRow,
    ClassScores,
    Compared,
    Compound,
    CurvePoint,
    Drawable,
    ForestRow,
    Group,
    LearningCurve,
    Point,
    PrecisionPlan,
    Subgroups,
    TrainedRuns,
)
from stfmri.evidence.references import their_place
from stfmri.evidence.subgroups import GroupScore
from stfmri.study import history

# What the heat maps show of each class.
HEATMAP = tuple(
    metrics.by_name(name, of_class=True)
    for name in ("precision", "recall", "specificity", "f1", "auc")
)
# Numbers of patients that the precision plan goes up to, as multiples of the present ones.
PLANNED = np.geomspace(0.5, 8, 40)


def drawable_of(results: Results) -> Drawable:
    """Everything that figures show; what there is not is left out."""
    kinds = results.evidence.kinds
    baselines = sorted(
        results.rivals, key=lambda one: np.nan_to_num(one.primary.pooled), reverse=True
    )
    of_baselines = [(one, Category.of(kinds[one.predicted.name])) for one in baselines]
    rows = [(one, Category.NETWORK) for one in results.ranked] + of_baselines
    if not results.variants:
        return Drawable(results.evidence.cohort.classes, PRIMARY.label)
    return Drawable(
        classes=results.evidence.cohort.classes,
        metric_label=PRIMARY.label,
        metric_limits=PRIMARY.bounds,
        variants=[one.predicted for one in results.ranked],
        baselines=[Compared(one.predicted, category) for one, category in of_baselines],
        forest=[_forest_row(one, category) for one, category in rows],
        class_scores=ClassScores(
            tuple(metric.label for metric in HEATMAP),
            [ClassRow(one.predicted.label, category, _class_means(one)) for one, category in rows],
        ),
        training=[
            _trained(one, results) for one in results.ranked if not one.predicted.is_ensemble
        ],
        subgroups=_subgroups(results),
        precision=_precision(results),
        learning=_learning(results),
        remarks=_remarks(results),
    )


def _remarks(results: Results) -> dict[str, str]:
    """Where the reference shows the same, by the name of the figure."""
    reference = results.evidence.reference
    remarks = {"classwise": their_place(reference, "class_heatmaps")}
    for variant in results.evidence.variants:
        if not variant.extra:
            name = f"confusion_{file_part(variant.name)}"
            remarks[name] = their_place(reference, "confusion", variant.model)
    return remarks


def _forest_row(summary: Summary, category: Category) -> ForestRow:
    estimate = summary.primary
    procedure = (estimate.procedure_low, estimate.procedure_high)
    return ForestRow(
        summary.predicted.label,
        category,
        estimate.pooled,
        summary.fold_scores.tolist(),
        (estimate.low, estimate.high),
        None if math.isnan(procedure[0]) else procedure,
    )


def _class_means(summary: Summary) -> metrics.FloatArray:
    """Means over folds, shape (K, M)."""
    return np.array(
        [[scores[metric.name].mean for metric in HEATMAP] for scores in summary.per_class.values()]
    )


def _trained(summary: Summary, results: Results) -> TrainedRuns:
    folders = [
        record.run.folder
        for record in results.evidence.network_records
        if record.run.variant == summary.predicted.name
    ]
    runs = [history.read(folder / history.FILE_NAME) for folder in folders]
    return TrainedRuns(summary.predicted.label, runs)


def _subgroups(results: Results) -> Subgroups | None:
    """The leader beside the best image baseline."""
    if not any(results.subgroups.values()):
        return None
    by_label = {summary.predicted.label: summary for summary in results.everyone}
    kinds = results.evidence.kinds
    compared = [
        Compound(
            label,
            Category.of(kinds[by_label[label].predicted.name])
            if by_label[label].predicted.kind == "baseline"
            else Category.NETWORK,
            by_label[label].overall["accuracy"].pooled,
        )
        for label in results.subgroups
    ]
    columns: dict[str, list[Group]] = {}
    for together in zip(*results.subgroups.values(), strict=True):
        first = together[0]
        points = [_point(score) for score in together]
        columns.setdefault(first.column, []).append(Group(first.group, first.patients, points))
    return Subgroups(compared, columns)


def _point(score: GroupScore) -> Point:
    return Point(score.accuracy, score.low, score.high)


def _learning(results: Results) -> list[LearningCurve]:
    """The curves of networks and baselines, the best at the largest part first."""
    cohort, kinds = results.evidence.cohort, results.evidence.kinds
    found: dict[tuple[str, Category], list[Summary]] = {}
    for summary in results.everyone:
        one = summary.predicted
        category = Category.NETWORK if one.kind == "network" else Category.of(kinds[one.name])
        if one.curve and category is not Category.CONTROL:
            found.setdefault((one.curve, category), []).append(summary)
    curves = []
    for (label, category), summaries in found.items():
        points = []
        for summary in sorted(summaries, key=lambda one: one.predicted.train_fraction):
            one, row = summary.predicted, _forest_row(summary, category)
            sizes = [len(cohort.fold(fold, one.train_fraction).train) for fold in one.folds]
            points.append(CurvePoint(float(np.mean(sizes)), row.value, row.networks, row.procedure))
        curves.append(LearningCurve(label, category, points))
    return sorted(curves, key=lambda curve: -np.nan_to_num(curve.points[-1].value))


def _precision(results: Results) -> PrecisionPlan | None:
    """How wide the leader's interval would be with fewer and with more tested patients."""
    plan = results.plan
    if plan is None or not plan.present > plan.floor:
        return None
    patients = np.unique(np.rint(PLANNED * plan.tested))
    shrinking = (plan.present**2 - plan.floor**2) * plan.tested / patients
    half_width = np.sqrt(shrinking + plan.floor**2)
    return PrecisionPlan(patients.tolist(), half_width.tolist(), float(plan.tested), plan.present)
