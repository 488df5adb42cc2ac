"""Read what the runs of a sweep left behind, and how each was made."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stfmri.evidence import references
from stfmri.evidence.baselines import BASELINES
from stfmri.evidence.baselines.record import part_words
from stfmri.evidence.chosen import read_choices
from stfmri.evidence.cohort import Cohort, read_cohort
from stfmri.evidence.collected import Evidence, RunRecord
from stfmri.evidence.collected_baselines import (
    baseline_kinds,
    baseline_name,
    baseline_predicted,
    look_ups,
)
from stfmri.evidence.methods.study import read_study
from stfmri.evidence.predicted import Predicted, from_tables
from stfmri.evidence.seeds import complete_seeds, ensemble, together
from stfmri.study import predictions
from stfmri.study.files import NotRegularFileError, read_text
from stfmri.study.labels import axes_of, variant_label
from stfmri.study.overrides import choices
from stfmri.study.predictions import PredictionError, PredictionTable
from stfmri.study.runs import Run, Sweep
from stfmri.study.shards import Volumes
from stfmri.study.splits import describe, rows_of


def collect_evidence(
    sweep: Sweep, progress: Callable[[Sequence[Run]], Iterable[Run]] = iter
) -> Evidence:
    """Everything that a sweep left behind.

    Args:
        sweep: as submitted.
        progress: wraps the reading of runs, to show how far it is.

    Raises:
        UserError: if its split or its index cannot be read, or is not the one that was submitted.
    """
    reference = references.get(sweep.config.reference.name)
    cohort = read_cohort(sweep.cache, sweep.splits, tuple(sweep.classes), sha256=sweep.split_sha256)
    variants, baselines, records, remarks = gather(sweep.all_runs, cohort, progress)
    kinds = baseline_kinds(sweep.all_runs)
    chosen = read_choices(sweep)
    labels = {one.name: one.label for one in variants if not one.is_ensemble}
    provenances: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        if not record.missing_because:
            provenances[record.run.variant].append(record.provenance)
    caches = [sweep.cache]
    if sweep.first.external_cache is not None:
        caches.append(sweep.first.external_cache)
    return Evidence(
        sweep=sweep.name,
        note=sweep.note,
        cohort=cohort,
        variants=variants,
        baselines=baselines,
        records=records,
        choices=choices(sweep.config),
        split=""
        if cohort.split is None
        else describe(cohort.split, [run.fold for run in sweep.runs]),
        split_notes=(*cohort.notes, *remarks),
        reference=reference if reference and reference.fits(cohort.classes) else None,
        study=read_study(sweep, cohort, labels, provenances, caches, chosen.sentence),
        volumes=Volumes(sweep.cache, rows_of(sweep.first)),
        kinds=kinds,
        chosen=chosen,
    )


def gather(
    runs: Sequence[Run],
    cohort: Cohort,
    progress: Callable[[Sequence[Run]], Iterable[Run]] = iter,
) -> tuple[tuple[Predicted, ...], tuple[Predicted, ...], tuple[RunRecord, ...], list[str]]:
    """Read the predictions of every run; a run without valid ones is recorded as missing.

    Args:
        runs: those that the sweep expects, of networks and of image baselines.
        cohort: its subjects and folds.
        progress: wraps the iteration, to show how far it is.

    Returns:
        The variants, each followed by the ensemble of its seeds where it has several; the
        baselines (look-ups included); a record of every run; and remarks on the look-ups.
    """
    tables: dict[str, dict[int | None, dict[int, PredictionTable]]] = defaultdict(dict)
    first: dict[str, Run] = {}
    records: list[RunRecord] = []
    for run in progress(runs):
        reason = ""
        if run.baseline and run.baseline not in BASELINES:
            reason = f"a baseline that this program does not know; it knows {', '.join(BASELINES)}"
        else:
            try:
                table = read_run(run, cohort)
                tables[run.variant].setdefault(run.seed, {})[run.fold] = table
                first.setdefault(run.variant, run)
            except PredictionError as error:
                absent = not (run.folder / predictions.FILE_NAME).exists()
                reason = "no predictions" if absent else str(error)
        records.append(RunRecord(run, reason, _provenance(run.folder)))
    kinds = baseline_kinds(runs)
    variants: list[Predicted] = []
    baselines = {}
    for name, run in first.items():
        if run.baseline:
            kind = kinds[baseline_name(run)]
            by_fold = tables.pop(name)[run.seed]
            predicted = baseline_predicted(kind, list(by_fold.values()), cohort, run.train_fraction)
            curve = kind.curve_label if run.curve else ""
            baselines[kind.name] = replace(predicted, curve=curve)
        else:
            variants += _trained(run, tables.pop(name), cohort)
    # A fold that the split lacks makes its runs missing, and is none of a look-up either.
    folds = sorted({run.fold for run in runs if run.fold < len(cohort.folds)})
    most = max((run.train_fraction for run in runs), default=1.0)
    found, remarks = look_ups(cohort, folds, most)
    baselines |= {look_up.name: look_up for look_up in found}
    ordered = [baselines[name] for name in kinds if name in baselines]
    return tuple(variants), tuple(ordered), tuple(records), remarks


def read_run(run: Run, cohort: Cohort) -> PredictionTable:
    """Read the predictions of one run and check them against the split and the index.

    Raises:
        PredictionError: if they are missing, broken, or not those of this fold.
    """
    table = predictions.read(run.folder / predictions.FILE_NAME)
    if run.fold >= len(cohort.folds):
        raise PredictionError(
            f"expected fold {run.fold} of run {run.name} in the split, found "
            f"{len(cohort.folds)} folds there"
        )
    predictions.validate(table, cohort.classes, run.fold, cohort.folds[run.fold].test)
    for row in table.rows:
        label = cohort.subjects[row.subject_id].label
        if row.label != label:
            raise PredictionError(
                f"expected label {label!r}, as in the cache's index, for subject "
                f"{row.subject_id!r} in {table.path}, found {row.label!r}"
            )
    return table


def _trained(
    run: Run, found: Mapping[int | None, Mapping[int, PredictionTable]], cohort: Cohort
) -> list[Predicted]:
    """A variant, and the ensemble of its seeds where it has several.

    Args:
        run: any of the variant.
        found: its predictions, by seed and fold.
    """
    by_seed = {
        seed: _variant(run, list(by_fold.values()), cohort)
        for seed, by_fold in complete_seeds(found).items()
    }
    if None in by_seed:
        return [by_seed[None]]
    variant = together({seed: one for seed, one in by_seed.items() if seed is not None})
    return [variant, ensemble(variant)] if variant.members else [variant]


def _variant(run: Run, tables: Sequence[PredictionTable], cohort: Cohort) -> Predicted:
    """The predictions of the variant that `run` belongs to."""
    # Where the part of the training subjects is an axis, it is put in words.
    name = run.curve or run.variant
    curve = variant_label(name, run.model, run.weights)
    extra = axes_of(name, run.model, run.weights)
    part = part_words(run.train_fraction) if run.curve else ""
    return from_tables(
        tables,
        cohort,
        name=run.variant,
        label=", ".join(filter(None, [curve, part])),
        kind="network",
        model=run.model,
        weights=run.weights,
        extra=", ".join(filter(None, [extra, part])),
        train_fraction=run.train_fraction,
        curve=curve if run.curve else "",
    )


def _provenance(folder: Path) -> dict[str, Any]:
    """`provenance.json` of a run, or nothing where it is missing or broken.

    It is shown beside the results and decides nothing, so that a broken one spoils no report.
    """
    try:
        content = json.loads(read_text(folder / "provenance.json"))
    except (OSError, ValueError, RecursionError, NotRegularFileError):
        return {}
    return content if isinstance(content, dict) else {}
