"""Tables that hold no score of every variant: scans, networks, literature, mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stfmri.evidence.references import Reference, their_place
from stfmri.evidence.summary import Results
from stfmri.evidence.tables import Cell, Column, Row, Score, Table
from stfmri.evidence.tallies import Evidence
from stfmri.study.predictions import PredictionTable


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
    """Table 1: trainable parameters, as each run recorded them, beside the paper's."""
    cited = evidence.cited
    columns = [Column("Variant"), Column("Trainable parameters")]
    title = f"Trainable parameters{their_place(cited, 'parameters')}"
    caption = cited.remarks.get("parameters", "") if cited else ""
    if cited:
        columns.append(Column("Paper"))
    rows = []
    for tally in evidence.variants:
        found = {
            record.provenance["parameters"]
            for record in evidence.records
            if record.run.variant == tally.name
            and not record.missing_because
            and isinstance(record.provenance.get("parameters"), int)
        }
        # Runs of one variant that differ here were not made by the same code.
        cells: list[Cell] = [tally.label, found.pop() if len(found) == 1 else None]
        if cited:
            cells.append(cited.parameters.get(tally.model))
        rows.append(Row(cells))
    return Table("table1_parameters", title, columns, rows, caption)


def literature_table(results: Results, cited: Reference) -> Table:
    """Results that a published study lists, with the leading variant in front."""
    columns = [Column("Study"), Column("Method"), Column("Classes")]
    columns += [Column("Accuracy (%)"), Column("Specificity")]
    rows = []
    leader = results.leader
    if leader:
        ovr = leader.overall["ovr_accuracy"].mean
        specificity = leader.overall["macro_specificity"].mean
        cells = [
            f"This sweep ({results.evidence.sweep})",
            leader.tally.label,
            ", ".join(results.evidence.cohort.classes),
            "" if math.isnan(ovr) else f"{100 * ovr:.2f}",
            "" if math.isnan(specificity) else f"{specificity:.4f}",
        ]
        rows.append(Row(cells))
    rows += [
        Row([item.study, item.method, item.classes, item.accuracy, item.specificity], "baseline")
        for item in cited.literature
    ]
    title = f"Published results{their_place(cited, 'literature')}"
    caption = cited.remarks.get("literature", "")
    return Table("table6_literature", title, columns, rows, caption)


def misclassified_table(tables: Sequence[PredictionTable], label: str) -> Table:
    """The test subjects that one variant got wrong, the surest mistakes first."""
    classes = tables[0].classes if tables else ()
    columns = [Column(name) for name in ("Subject", "Source", "Fold", "True class")]
    columns += [Column("Prediction"), *(Column(f"P({name})") for name in classes)]
    wrong = [row for table in tables for row in table.rows if row.label != row.prediction]
    wrong.sort(key=lambda row: (-max(row.probabilities), row.subject_id, row.fold))
    rows = [
        Row(
            [
                row.subject_id,
                row.source,
                str(row.fold),
                row.label,
                row.prediction,
                *map(Score, row.probabilities),
            ]
        )
        for row in wrong
    ]
    title = f"Misclassified by {label}"
    return Table("misclassified", title, columns, rows, "The surest mistakes first.")


def hardest_table(evidence: Evidence, at_least: float = 0.5) -> Table:
    """Subjects that at least this share of all networks' test predictions got wrong."""
    columns = [Column(name) for name in ("Subject", "Source", "True class", "Wrong", "Tested")]
    hard = [
        name for name, count in evidence.missed.items() if count >= at_least * evidence.tested[name]
    ]
    hard.sort(key=lambda name: (-evidence.missed[name] / evidence.tested[name], name))
    rows = []
    for name in hard:
        subject = evidence.cohort.subjects[name]
        counts = evidence.missed[name], evidence.tested[name]
        rows.append(Row([name, subject.source, subject.label, *counts]))
    caption = "Wrong in at least half of the networks' test predictions of them."
    return Table("hardest", "Subjects that most networks get wrong", columns, rows, caption)
