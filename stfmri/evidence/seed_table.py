"""How much a score varies over folds, and how much over the seeds of one fold."""

from __future__ import annotations

from stfmri.evidence.estimates import PRIMARY, Results
from stfmri.evidence.statistics import spread_parts
from stfmri.evidence.tables import Column, Row, Score, Table
from stfmri.study.words import listed


def seeds_table(results: Results) -> Table:
    """The variance components of the primary metric, a row for each variant of several seeds."""
    columns = [
        Column("Variant"),
        Column("Seeds"),
        Column(PRIMARY.label),
        Column("SD over folds"),
        Column("SD over seeds"),
        Column("SD, folds alone"),
        Column("Variance due to seeds"),
    ]
    rows = []
    for summary in results.variants:
        if not summary.predicted.members:
            continue
        parts = spread_parts(summary.seed_scores)
        rows.append(
            Row(
                [
                    summary.predicted.label,
                    listed(summary.predicted.seeds),
                    Score(summary.primary.mean),
                    Score(parts.over_folds),
                    Score(parts.over_seeds),
                    Score(parts.folds_alone),
                    Score(parts.share_of_seeds, digits=2),
                ]
            )
        )
    caption = (
        "Over folds: of the means over seeds. Over seeds: within a fold, the root of the mean "
        "square over folds. Folds alone: what of the former the latter does not explain, by a "
        "one-way random-effects analysis of variance with seeds within folds (Searle, Casella & "
        "McCulloch 1992); the last column is the seeds' part of the variance of one training."
    )
    return Table("seeds", "Spread over folds and over seeds", columns, rows, caption)
