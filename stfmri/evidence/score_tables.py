"""Tables of scores: which there are, and what stands in them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stfmri.evidence.list_tables import cohort_table, literature_table, parameters_table
from stfmri.evidence.lookups import BASELINE_LABELS
from stfmri.evidence.references import PrintedScores, their_place
from stfmri.evidence.summary import Estimate, Results, Summary
from stfmri.evidence.tables import Cell, Column, Interval, Row, Score, Table
from stfmri.evidence.tallies import Evidence, Tally

OVER_FOLDS = "Mean ± standard deviation over folds"
METRIC_NAMES = {
    "precision": "Precision",
    "recall": "Recall",
    "specificity": "Specificity",
    "f1": "F1",
    "accuracy": "Accuracy (class against rest)",
}


def all_tables(results: Results) -> list[Table]:
    """Every table of the sweep, in the order of the report."""
    evidence = results.evidence
    tables = [cohort_table(evidence), parameters_table(evidence)]
    tables += [class_f1_table(results, name) for name in evidence.cohort.classes]
    tables += [
        all_f1_table(results),
        consolidated_table(results),
        accuracy_table(results),
        per_class_table(results),
        confusion_table(results),
        comparisons_table(results),
    ]
    if evidence.cited and evidence.cited.literature:
        tables.append(literature_table(results, evidence.cited))
    return tables


def class_f1_table(results: Results, name: str) -> Table:
    """Tables 2–4: F1 of one class."""
    evidence = results.evidence
    columns = [
        Column("Variant"),
        Column("F1", best=True, spread=True),
        Column("95 % interval", interval=True),
    ]
    if evidence.cited:
        columns.append(Column("Paper", spread=True))
    rows = []
    for summary in _all(results):
        estimate = summary.per_class[name]["f1"]
        cells: list[Cell] = [summary.tally.label, _over_folds(estimate), _interval(estimate)]
        if evidence.cited:
            printed = _paper_scores(evidence, summary.tally)
            cells.append(Score(*printed.class_f1[name], digits=4) if printed else None)
        rows.append(_row(summary, cells))
    place = evidence.cited.place("class_f1", name) if evidence.cited else ""
    number = place.lower().replace(" ", "")
    prefix = f"{number}_f1" if number else f"f1_of_{evidence.cohort.classes.index(name)}"
    title = f"F1 of {name}{their_place(evidence.cited, 'class_f1', name)}"
    return Table(f"{prefix}_{file_part(name)[:60]}", title, columns, rows, f"{OVER_FOLDS}.")


def all_f1_table(results: Results) -> Table:
    """Tables 2–4 in one: F1 of every class."""
    evidence = results.evidence
    beside = evidence.cited is not None
    columns = [Column("Variant")]
    for name in evidence.cohort.classes:
        columns.append(Column(name, best=True, spread=True))
        if beside:
            columns.append(Column(f"{name}, paper", spread=True))
    rows = []
    for summary in _all(results):
        cells: list[Cell] = [summary.tally.label]
        printed = _paper_scores(evidence, summary.tally)
        for name in evidence.cohort.classes:
            cells.append(_over_folds(summary.per_class[name]["f1"]))
            if beside:
                cells.append(Score(*printed.class_f1[name], digits=4) if printed else None)
        rows.append(_row(summary, cells))
    title = f"F1 of each class{their_place(evidence.cited, 'f1_by_class')}"
    return Table("f1_by_class", title, columns, rows, f"{OVER_FOLDS}.")


def consolidated_table(results: Results) -> Table:
    """Table 5: macro and weighted F1."""
    evidence = results.evidence
    columns = [
        Column("Variant"),
        Column("Macro F1", best=True, spread=True),
        Column("Pooled macro F1"),
        Column("95 % interval", interval=True),
        Column("Weighted F1", best=True, spread=True),
    ]
    # Of a complete sweep every row has the same folds.
    if evidence.missing:
        columns.insert(1, Column("Folds"))
    if evidence.cited:
        columns += [Column("Paper: macro"), Column("Paper: weighted")]
    rows = []
    for summary in _all(results):
        macro, weighted = summary.overall["macro_f1"], summary.overall["weighted_f1"]
        cells: list[Cell] = [
            summary.tally.label,
            _over_folds(macro),
            Score(macro.pooled),
            _interval(macro),
            _over_folds(weighted),
        ]
        if evidence.missing:
            cells.insert(1, len(summary.tally.folds))
        if evidence.cited:
            printed = _paper_scores(evidence, summary.tally)
            cells += (
                [Score(printed.macro_f1, digits=4), Score(printed.weighted_f1, digits=4)]
                if printed
                else [None, None]
            )
        rows.append(_row(summary, cells))
    title = f"Macro and weighted F1{their_place(evidence.cited, 'consolidated')}"
    caption = (
        f"{OVER_FOLDS}. Macro F1 is the plain mean of the classes' F1; weighted F1 weighs them by "
        "their true counts. Pooled: from the confusion matrix summed over folds; the interval is "
        "its own, by bootstrap over patients."
    )
    return Table("table5_consolidated", title, columns, rows, caption)


def accuracy_table(results: Results) -> Table:
    """The accuracies that go by one name, under different ones; and mean specificity."""
    names = {
        "accuracy": "Accuracy",
        "ovr_accuracy": "Mean one-vs-rest accuracy",
        "balanced_accuracy": "Balanced accuracy",
        "macro_specificity": "Mean specificity",
    }
    columns = [Column("Variant")]
    columns += [Column(name, best=True, spread=True) for name in names.values()]
    rows = [
        _row(summary, [summary.tally.label, *(_over_folds(summary.overall[key]) for key in names)])
        for summary in _all(results)
    ]
    caption = (
        f"{OVER_FOLDS}. Accuracy is the share of right predictions; mean one-vs-rest accuracy the "
        "mean over classes of (TP + TN) / N, which is never lower."
    )
    cited = results.evidence.cited
    if cited and "accuracy" in cited.remarks:
        caption += f" {cited.remarks['accuracy']}"
    return Table("accuracy", "Accuracy, under each of its meanings", columns, rows, caption)


def per_class_table(results: Results) -> Table:
    """Figure 7 in numbers: every metric of every class."""
    columns = [Column("Class"), Column("Variant")]
    columns += [Column(name, spread=True) for name in METRIC_NAMES.values()]
    rows = [
        _row(
            summary,
            [
                name,
                summary.tally.label,
                *(_over_folds(summary.per_class[name][key]) for key in METRIC_NAMES),
            ],
        )
        for name in results.evidence.cohort.classes
        for summary in _all(results)
    ]
    return Table("per_class", "Every metric of every class", columns, rows, f"{OVER_FOLDS}.")


def confusion_table(results: Results) -> Table:
    """All confusion matrices, pooled and per fold, one row a true class."""
    classes = results.evidence.cohort.classes
    columns = [Column("Variant"), Column("Fold"), Column("True class")]
    columns += [Column(f"Predicted {name}") for name in classes]
    rows = []
    for summary in _all(results):
        tally = summary.tally
        matrices = [("all", tally.pooled)]
        matrices += [
            (str(fold), matrix)
            for fold, matrix in zip(tally.folds, tally.fold_confusions, strict=True)
        ]
        for fold, matrix in matrices:
            for name, counts in zip(classes, matrix.tolist(), strict=True):
                rows.append(_row(summary, [tally.label, fold, name, *counts]))
    return Table("confusion", "Confusion matrices, pooled and per fold", columns, rows)


def comparisons_table(results: Results) -> Table:
    """Differences of macro F1."""
    labels = {tally.name: tally.label for tally in results.evidence.variants}
    labels.update(BASELINE_LABELS)
    columns = [
        Column("A"),
        Column("B"),
        Column("A − B over folds"),
        Column("p"),
        Column("p (Holm)"),
        Column("A − B pooled"),
        Column("95 % interval", interval=True),
    ]
    rows = [
        Row(
            [
                labels[item.a],
                labels[item.b],
                Score(item.mean_difference),
                Score(item.p),
                Score(item.p_holm),
                Score(item.pooled_difference),
                Interval(item.low, item.high),
            ],
            kind="network" if item.kind == "variants" else "baseline",
        )
        for item in results.comparisons
    ]
    caption = (
        "Macro F1 of A minus that of B. p: corrected resampled t-test over folds (Nadeau & Bengio "
        "2003), which takes into account that training sets overlap; with few folds it finds "
        "large differences only. The interval: bootstrap over patients, paired, of the pooled "
        "difference; where it holds 0, A and B cannot be told apart on these patients."
    )
    return Table("comparisons", "Differences of macro F1", columns, rows, caption)


def file_part(name: str) -> str:
    """A class name or model name as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip(".-_") or "class"


def _all(results: Results) -> list[Summary]:
    """The variants, then the baselines."""
    return [*results.variants, *results.baselines.values()]


def _row(summary: Summary, cells: Sequence[Cell]) -> Row:
    return Row(cells, kind="network" if summary.tally.model else "baseline")


def _over_folds(estimate: Estimate) -> Score:
    return Score(estimate.mean, estimate.sd)


def _interval(estimate: Estimate) -> Interval:
    return Interval(estimate.low, estimate.high)


def _paper_scores(evidence: Evidence, tally: Tally) -> PrintedScores | None:
    """The paper's row for a variant."""
    cited = evidence.cited
    return cited.printed(tally.model, tally.weights, tally.extra) if cited else None
