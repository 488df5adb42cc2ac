"""Tables that list things: scans, networks, published results, mistakes, subgroups."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from stfmri.evidence.collected import Evidence
from stfmri.evidence.estimates import Results
from stfmri.evidence.predicted import Predicted
from stfmri.evidence.references.record import Reference
from stfmri.evidence.subgroups import GroupScore
from stfmri.evidence.tables import Cell, Column, Interval, Row, Score, Table


def cohort_table(evidence: Evidence) -> Table:
    """Subjects by source and class."""
    cohort = evidence.cohort
    counts = cohort.counts()
    sources = sorted({source for source, _ in counts})
    rows = []
    for source in sources:
        by_class = [counts.get((source, name), 0) for name in cohort.classes]
        rows.append(Row([source, *by_class, sum(by_class)]))
    totals = [sum(counts.get((s, name), 0) for s in sources) for name in cohort.classes]
    rows.append(Row(["All", *totals, sum(totals)], kind="baseline"))
    return Table(
        "cohort",
        "Scans by source and class",
        [Column("Source"), *map(Column, cohort.classes), Column("All")],
        rows,
        "Where one source holds one class only, recognising the source is enough to be right.",
    )


def parameters_table(evidence: Evidence) -> Table:
    """Trainable parameters, as each run recorded them, beside the printed ones."""
    reference = evidence.reference
    columns = [Column("Variant"), Column("Trainable parameters")]
    title, caption = "Trainable parameters", ""
    if reference:
        columns.append(Column("Printed"))
        title += f" (their {reference.place('parameters')})"
        caption = reference.remarks.get("parameters", "")
    rows = []
    for variant in (one for one in evidence.variants if not one.is_ensemble):
        found = {
            record.provenance["parameters"]
            for record in evidence.network_records
            if record.run.variant == variant.name
            and not record.missing_because
            and isinstance(record.provenance.get("parameters"), int)
        }
        # Runs of one variant that differ here were not made by the same code.
        cells: list[Cell] = [variant.label, found.pop() if len(found) == 1 else None]
        if reference:
            cells.append(reference.parameters.get(variant.model))
        rows.append(Row(cells))
    return Table("parameters", title, columns, rows, caption)


def literature_table(results: Results, reference: Reference) -> Table:
    """Published results, with the leading variant in front."""
    columns = [Column("Study"), Column("Method"), Column("Classes")]
    columns += [Column("Accuracy (%)"), Column("Specificity")]
    rows = []
    leader = results.leader
    if leader:
        ovr = leader.overall["ovr_accuracy"].mean
        specificity = leader.overall["macro_specificity"].mean
        cells = [
            f"This sweep ({results.evidence.sweep})",
            leader.predicted.label,
            ", ".join(results.evidence.cohort.classes),
            "" if math.isnan(ovr) else f"{100 * ovr:.2f}",
            "" if math.isnan(specificity) else f"{specificity:.4f}",
        ]
        rows.append(Row(cells))
    rows += [
        Row([item.study, item.method, item.classes, item.accuracy, item.specificity], "baseline")
        for item in reference.literature
    ]
    title = f"Published results (their {reference.place('literature')})"
    return Table("literature", title, columns, rows, reference.remarks.get("literature", ""))


def misclassified_table(predicted: Predicted, evidence: Evidence) -> Table:
    """The test subjects that one variant got wrong, the surest mistakes first."""
    classes = evidence.cohort.classes
    names = ["Subject", "Source", "Fold", *(["Seed"] if predicted.members else []), "True class"]
    columns = [Column(name) for name in names]
    columns += [Column("Prediction"), *(Column(f"P({name})") for name in classes)]
    rows = []
    for number in surest_mistakes(predicted):
        subject = evidence.cohort.subjects[evidence.cohort.tested[predicted.subject_N[number]]]
        rows.append(
            Row(
                [
                    subject.subject_id,
                    subject.source,
                    str(predicted.fold_N[number]),
                    *([str(predicted.seed_N[number])] if predicted.members else []),
                    subject.label,
                    classes[predicted.prediction_N[number]],
                    *map(Score, predicted.probability_NK[number].tolist()),
                ]
            )
        )
    title = f"Misclassified by {predicted.label}"
    return Table("misclassified", title, columns, rows, "The surest mistakes first.")


def surest_mistakes(predicted: Predicted) -> list[int]:
    """Positions of the wrong predictions, the most probable first."""
    wrong = np.flatnonzero(predicted.prediction_N != predicted.label_N)
    sure = predicted.probability_NK.max(axis=1)[wrong]
    # Ties by subject and fold, so that the order never depends on how runs were read.
    order = np.lexsort((predicted.fold_N[wrong], predicted.subject_N[wrong], -sure))
    return [int(number) for number in wrong[order]]


def hardest_subjects(evidence: Evidence, more_than: float = 0.5) -> list[int]:
    """Positions in `Cohort.tested` of those wrong in more than this share of all predictions."""
    tested, wrong = evidence.missed
    share = np.divide(wrong, tested, out=np.zeros(len(tested)), where=tested > 0)
    chosen = np.flatnonzero(share > more_than)
    return [int(number) for number in chosen[np.argsort(-share[chosen], kind="stable")]]


def hardest_table(evidence: Evidence) -> Table:
    """Subjects that more than half of all networks' test predictions got wrong."""
    columns = [Column(name) for name in ("Subject", "Source", "True class", "Wrong", "Tested")]
    tested, wrong = evidence.missed
    rows = []
    for number in hardest_subjects(evidence):
        subject = evidence.cohort.subjects[evidence.cohort.tested[number]]
        counts = int(wrong[number]), int(tested[number])
        rows.append(Row([subject.subject_id, subject.source, subject.label, *counts]))
    caption = "Wrong in more than half of the networks' test predictions of them."
    return Table("hardest", "Subjects that most networks get wrong", columns, rows, caption)


def subgroup_table(scores: Mapping[str, list[GroupScore]]) -> Table:
    """Scores within groups, of each variant or baseline that is given by its label."""
    columns = [Column("Column"), Column("Group"), Column("Patients"), Column("Of")]
    columns += [Column("Accuracy"), Column("95 % interval", interval=True), Column("Macro AUC")]
    labels = list(scores)
    rows = [
        Row(
            [
                item.column,
                item.group,
                item.patients,
                label,
                Score(item.accuracy),
                Interval(item.low, item.high),
                Score(item.auc),
            ],
            kind="network" if label == labels[0] else "baseline",
        )
        for group in zip(*scores.values(), strict=True)
        for label, item in zip(labels, group, strict=True)
    ]
    caption = (
        "Accuracy is the share of right predictions; the AUC is over pairs of one fold and group, "
        "and undefined where a group holds one class. Intervals of small groups are wide: a "
        "difference between groups that lie within each other's intervals shows nothing."
    )
    return Table("subgroups", "Scores within groups", columns, rows, caption)
