"""Tables of scores: which there are, and what their columns hold. Metrics are iterated over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stfmri.evidence import metrics
from stfmri.evidence.collected import Evidence
from stfmri.evidence.estimates import PRIMARY, Estimate, Results, Summary
from stfmri.evidence.list_tables import cohort_table, literature_table, parameters_table
from stfmri.evidence.metrics import Metric
from stfmri.evidence.predicted import Predicted
from stfmri.evidence.references import PrintedScores, their_place
from stfmri.evidence.seed_table import seeds_table
from stfmri.evidence.tables import Cell, Column, Interval, PValue, Row, Score, Table
from stfmri.study.naming import path_part
from stfmri.study.words import enumerated

OVER_FOLDS = "Mean ± standard deviation over folds."


@dataclass(frozen=True)
class OverallTable:
    """A table of several overall metrics.

    Attributes:
        name: file name without its ending, and `Metric.table` of the metrics in it.
        title, caption: of the table.
    """

    name: str
    title: str
    caption: str


OVERALL_TABLES = (
    OverallTable(
        "accuracy",
        "Accuracy, under each of its meanings",
        "Accuracy is the share of right predictions; mean one-vs-rest accuracy the mean over "
        "classes of (TP + TN) / N, which is never lower.",
    ),
    OverallTable(
        "probabilities",
        "Scores of the probabilities",
        "AUC and average precision are computed within each fold, one class against the rest. "
        "Brier score, log loss and calibration error are better the lower they are.",
    ),
    OverallTable(
        "agreement",
        "Agreement beyond chance",
        "Both are 0 for guessing and 1 for a perfect classifier.",
    ),
)


def all_tables(results: Results) -> list[Table]:
    """Every table of the sweep, in the order of the report."""
    evidence = results.evidence
    tables = [cohort_table(evidence), parameters_table(evidence), scores_table(results)]
    if results.has_seeds:
        tables.append(seeds_table(results))
    tables += [overall_table(results, table) for table in OVERALL_TABLES]
    tables.append(all_f1_table(results))
    tables += [class_f1_table(results, name) for name in evidence.cohort.classes]
    tables += [per_class_table(results), confusion_table(results), comparisons_table(results)]
    if evidence.reference:
        tables.append(literature_table(results, evidence.reference))
    return tables


def scores_table(results: Results) -> Table:
    """Macro and weighted F1 of every variant, with both intervals."""
    evidence = results.evidence
    columns = [
        Column("Variant"),
        Column("Macro F1", best=True, spread=True),
        Column("Pooled"),
        Column("95 %: these networks", interval=True),
        Column("95 %: the procedure", interval=True),
        Column("Weighted F1", best=True, spread=True),
        Column("Macro AUC", best=True, spread=True),
    ]
    if results.has_seeds:
        columns[1:1] = [Column("Cost")]
        columns[3:3] = [Column("SD over seeds")]
    # Of a complete sweep every row has the same folds.
    if evidence.missing:
        columns.insert(1, Column("Folds"))
    if evidence.reference:
        columns += [Column("Printed: macro F1"), Column("Printed: weighted F1")]
    rows = []
    for summary in results.everyone:
        estimate = summary.primary
        cells: list[Cell] = [
            summary.predicted.label,
            _over_folds(estimate),
            Score(estimate.pooled),
            Interval(estimate.low, estimate.high),
            Interval(estimate.procedure_low, estimate.procedure_high),
            _over_folds(summary.overall["weighted_f1"]),
            _over_folds(summary.overall["macro_auc"]),
        ]
        if results.has_seeds:
            cells[1:1] = [f"{summary.predicted.trainings} ×"]
            cells[3:3] = [Score(estimate.sd_over_seeds)]
        if evidence.missing:
            cells.insert(1, len(summary.predicted.folds))
        if evidence.reference:
            printed = _printed(evidence, summary.predicted)
            cells += (
                [Score(printed.macro_f1, digits=4), Score(printed.weighted_f1, digits=4)]
                if printed
                else [None, None]
            )
        rows.append(_row(summary, cells))
    caption = (
        f"{OVER_FOLDS} Pooled: of the predictions of all folds together. The first interval speaks "
        "of these trained networks on new patients, the second of networks trained anew in the "
        "same way; it needs several folds."
    )
    if results.has_seeds:
        caption += (
            " Scores of a variant are means over its seeds, and ± is over folds of those means; "
            "the standard deviation over seeds is that within a fold. An ensemble takes the mean "
            "of its seeds' probabilities; its cost is as many trainings a fold as it has seeds."
        )
    title = "Macro and weighted F1" + their_place(evidence.reference, "consolidated")
    return Table("scores", title, columns, rows, caption)


def overall_table(results: Results, table: OverallTable) -> Table:
    """One of `OVERALL_TABLES`: every metric that belongs to it."""
    count = len(results.evidence.cohort.classes)
    of_table = [metric for metric in metrics.overall() if metric.table == table.name]
    shown = metrics.telling(of_table, count)
    left_out = [metric for metric in of_table if metric not in shown]
    columns = [Column("Variant")]
    columns += [
        Column(metric.label, best=True, spread=True, lower_is_better=not metric.higher_is_better)
        for metric in shown
    ]
    rows = [
        _row(
            summary,
            [summary.predicted.label, *(_over_folds(summary.overall[m.name]) for m in shown)],
        )
        for summary in results.everyone
    ]
    remark = (
        results.evidence.reference.remarks.get(table.name) if results.evidence.reference else ""
    )
    caption = " ".join(filter(None, [OVER_FOLDS, table.caption, _same(left_out), remark]))
    return Table(table.name, table.title, columns, rows, caption)


def _same(left_out: Sequence[Metric]) -> str:
    """What is not shown of two classes, since another column has the same numbers."""
    pairs = [
        f"{one.label_in_text} equals {metrics.by_name(one.same_of_two).label_in_text}"
        for one in left_out
    ]
    return f"With two classes, {enumerated(pairs)}." if pairs else ""


def class_f1_table(results: Results, name: str) -> Table:
    """F1 of one class."""
    evidence = results.evidence
    columns = [
        Column("Variant"),
        Column("F1", best=True, spread=True),
        Column("95 % interval", interval=True),
    ]
    if evidence.reference:
        columns.append(Column("Printed", spread=True))
    rows = []
    for summary in results.everyone:
        estimate = summary.per_class[name]["f1"]
        cells: list[Cell] = [
            summary.predicted.label,
            _over_folds(estimate),
            Interval(estimate.low, estimate.high),
        ]
        if evidence.reference:
            cells.append(_printed_f1(evidence, summary.predicted, name))
        rows.append(_row(summary, cells))
    number = evidence.cohort.classes.index(name)
    title = f"F1 of {name}" + their_place(evidence.reference, "class_f1", name)
    return Table(f"f1_of_{number}_{path_part(name)[:60]}", title, columns, rows, OVER_FOLDS)


def all_f1_table(results: Results) -> Table:
    """F1 of every class."""
    evidence = results.evidence
    columns = [Column("Variant")]
    for name in evidence.cohort.classes:
        columns.append(Column(name, best=True, spread=True))
        if evidence.reference:
            columns.append(Column(f"{name}, printed", spread=True))
    rows = []
    for summary in results.everyone:
        cells: list[Cell] = [summary.predicted.label]
        for name in evidence.cohort.classes:
            cells.append(_over_folds(summary.per_class[name]["f1"]))
            if evidence.reference:
                cells.append(_printed_f1(evidence, summary.predicted, name))
        rows.append(_row(summary, cells))
    title = "F1 of each class" + their_place(evidence.reference, "f1_by_class")
    return Table("f1_by_class", title, columns, rows, OVER_FOLDS)


def per_class_table(results: Results) -> Table:
    """Every metric of every class."""
    shown = metrics.telling(metrics.per_class(), len(results.evidence.cohort.classes))
    columns = [Column("Class"), Column("Variant")]
    columns += [Column(metric.label, spread=True) for metric in shown]
    rows = [
        _row(
            summary,
            [
                name,
                summary.predicted.label,
                *(_over_folds(summary.per_class[name][m.name]) for m in shown),
            ],
        )
        for name in results.evidence.cohort.classes
        for summary in results.everyone
    ]
    return Table("per_class", "Every metric of every class", columns, rows, OVER_FOLDS)


def confusion_table(results: Results) -> Table:
    """All confusion matrices, pooled and per fold, one row a true class."""
    classes = results.evidence.cohort.classes
    columns = [Column("Variant"), Column("Fold"), Column("True class")]
    columns += [Column(f"Predicted {name}") for name in classes]
    rows = []
    for summary in results.everyone:
        predicted = summary.predicted
        matrices = [("all", predicted.pooled)]
        matrices += [
            (str(fold), matrix)
            for fold, matrix in zip(predicted.folds, predicted.fold_confusions, strict=True)
        ]
        for fold, matrix in matrices:
            for name, counts in zip(classes, matrix.tolist(), strict=True):
                rows.append(_row(summary, [predicted.label, fold, name, *counts]))
    caption = "Counts of several seeds are added up." if results.has_seeds else ""
    return Table("confusion", "Confusion matrices, pooled and per fold", columns, rows, caption)


def comparisons_table(results: Results) -> Table:
    """Differences of the primary metric, with every test of them."""
    labels = {summary.predicted.name: summary.predicted.label for summary in results.everyone}
    columns = [
        Column("A"),
        Column("B"),
        Column("A − B"),
        Column("95 %: these networks", interval=True),
        Column("95 %: the procedure", interval=True),
        Column("p"),
        Column("Effect size"),
        Column("p, folds (Holm)"),
        Column("p, McNemar (Holm)"),
        Column("A − B, AUC"),
        Column("p, AUC (Holm)"),
    ]
    rows = [
        Row(
            [
                labels[item.a],
                labels[item.b],
                Score(item.difference),
                Interval(item.networks_low, item.networks_high),
                Interval(item.low, item.high) if item.of_procedure else None,
                PValue(item.p),
                Score(item.effect),
                PValue(item.t_test_p_holm),
                PValue(item.mcnemar_p_holm),
                Score(item.auc_difference),
                PValue(item.auc_p_holm),
            ],
            kind="network" if item.family == "variants" else "baseline",
        )
        for item in results.comparisons
    ]
    caption = (
        f"{PRIMARY.label} of A minus that of B, pooled. The intervals, and p of the last of them, "
        "hold for all rows of a family at once (max-t over paired draws): only these decide what "
        "the report says. "
        "The other tests are those that readers may look for: corrected resampled t-test "
        "over folds (Nadeau & Bengio 2003), McNemar's test where each patient is tested once, and "
        "a paired test of the macro AUC; each corrected by Holm within its family."
    )
    return Table("comparisons", f"Differences of {PRIMARY.label}", columns, rows, caption)


def _row(summary: Summary, cells: Sequence[Cell]) -> Row:
    return Row(cells, kind=summary.predicted.kind)


def _over_folds(estimate: Estimate) -> Score:
    return Score(estimate.mean, estimate.sd)


def _printed(evidence: Evidence, predicted: Predicted) -> PrintedScores | None:
    """The reference's row for a variant; further axes are none of its."""
    if evidence.reference is None:
        return None
    return evidence.reference.printed(predicted.model, predicted.weights, predicted.extra)


def _printed_f1(evidence: Evidence, predicted: Predicted, name: str) -> Score | None:
    printed = _printed(evidence, predicted)
    return Score(*printed.class_f1[name], digits=4) if printed else None
