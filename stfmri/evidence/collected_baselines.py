"""The baselines of a sweep: what they are called, and what they predict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from stfmri.evidence.baselines import BASELINES
from stfmri.evidence.baselines.record import Baseline
from stfmri.evidence.baselines.run import fitting_lookups, lookup_table
from stfmri.evidence.cohort import Cohort
from stfmri.evidence.predicted import Predicted, from_tables
from stfmri.study.config import Config
from stfmri.study.predictions import PredictionTable
from stfmri.study.runs import Run


def baseline_kinds(runs: Sequence[Run]) -> dict[str, Baseline]:
    """Every baseline, by the name that its predictions have, in the order of tables and figures.

    One that was run on several caches, or on parts of the training subjects, is there once for
    each, after the registry's own record.
    """
    names: dict[str, dict[str, Run]] = defaultdict(dict)
    for run in runs:
        if run.baseline and baseline_name(run) != run.baseline:
            names[run.baseline].setdefault(baseline_name(run), run)
    kinds: dict[str, Baseline] = {}
    for baseline in BASELINES.values():
        kinds[baseline.name] = baseline
        for name, run in names[baseline.name].items():
            kinds[name] = replace(
                baseline, name=name, volumes=run.volumes, train_fraction=run.train_fraction
            )
    return kinds


def baseline_name(run: Run) -> str:
    """The name that the predictions of a baseline's run have."""
    return run.variant.removeprefix("baseline-")


def look_ups(
    cohort: Cohort, folds: Sequence[int], train_fraction: float = 1.0
) -> tuple[list[Predicted], list[str]]:
    """What the baselines that need the cohort table alone predict of `folds`.

    Args:
        train_fraction: of each fold's training part.

    Returns:
        Their predictions, and what a reader should know of them, a sentence each.
    """
    found, remarks = [], []
    for baseline in fitting_lookups(Config(), cohort):
        told = [
            lookup_table(baseline, Config(), cohort, number, train_fraction) for number in folds
        ]
        if told:
            tables = [table for table, _ in told]
            found.append(baseline_predicted(baseline, tables, cohort, train_fraction))
            remarks.append(baseline.remark([fitted.facts for _, fitted in told]))
    return found, [remark for remark in remarks if remark]


def baseline_predicted(
    baseline: Baseline,
    tables: Sequence[PredictionTable],
    cohort: Cohort,
    train_fraction: float = 1.0,
) -> Predicted:
    """The predictions of a baseline that was fitted on a fraction of each fold's training part."""
    return from_tables(
        tables,
        cohort,
        name=baseline.name,
        label=baseline.full_label,
        kind="baseline",
        train_fraction=train_fraction,
    )
