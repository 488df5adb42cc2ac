"""What the runs of a sweep left behind: their predictions, and how each was made."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stfmri.evidence import references
from stfmri.evidence.baselines import BASELINES
from stfmri.evidence.baselines.record import Baseline, part_words
from stfmri.evidence.baselines.run import fitting_lookups, lookup_table
from stfmri.evidence.chosen import Choices, read_choices
from stfmri.evidence.cohort import Cohort, read_cohort
from stfmri.evidence.methods.study import Study, read_study
from stfmri.evidence.predicted import Predicted, from_tables
from stfmri.evidence.references.record import Reference
from stfmri.evidence.seeds import complete_seeds, ensemble, note_on, together
from stfmri.study import predictions
from stfmri.study.config import Config
from stfmri.study.files import NotRegularFileError, read_text
from stfmri.study.labels import axes_of, variant_label
from stfmri.study.overrides import choices
from stfmri.study.predictions import PredictionError, PredictionTable
from stfmri.study.runs import Run, Sweep
from stfmri.study.shards import Volumes
from stfmri.study.splits import describe, rows_of


@dataclass(frozen=True)
class RunRecord:
    """What a run says of itself: whether it counts, and how it was made."""

    run: Run
    missing_because: str  # empty for a run that was read
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """Everything that tables, figures and the report are made of.

    Attributes:
        sweep: its name.
        note: a caution to print at the top, or empty.
        cohort: who was trained and tested on.
        variants: predictions of the networks, or of other tools.
        baselines: those of the baselines, in the order of the registry.
        records: every run that was expected, of networks and of image baselines.
        choices: `key=value` of each choice that is not the default.
        split: a sentence on how the subjects were divided; empty where it is not known.
        split_notes: what is unusual about the division, a sentence each.
        reference: a published study to print beside, if it has the same classes.
        kinds: every baseline by the name of its predictions.
        chosen: what each fold chose on its own training subjects.
        study: what the methods text is written from; None for predictions of other tools.
        volumes: of the subjects; None where they are not at hand.
        is_external: whether all are tested on another cohort, by networks that were finished.
    """

    sweep: str
    note: str
    cohort: Cohort
    variants: tuple[Predicted, ...]
    baselines: tuple[Predicted, ...]
    records: tuple[RunRecord, ...] = ()
    choices: tuple[str, ...] = ()
    split: str = ""
    split_notes: tuple[str, ...] = ()
    reference: Reference | None = None
    study: Study | None = None
    volumes: Volumes | None = None
    kinds: Mapping[str, Baseline] = field(default_factory=lambda: BASELINES)
    chosen: Choices = field(default_factory=Choices)
    is_external: bool = False

    @property
    def missing(self) -> list[str]:
        """Names of the runs that gave no evidence."""
        return [record.run.name for record in self.records if record.missing_because]

    @property
    def seed_notes(self) -> list[str]:
        """Which seeds of a variant were left out of its scores, a sentence a variant."""
        expected: dict[str, dict[int, None]] = defaultdict(dict)
        for record in self.network_records:
            if record.run.seed is not None:
                expected[record.run.variant][record.run.seed] = None
        notes = (
            note_on(one.label, expected[one.name], one.seeds)
            for one in self.variants
            if one.name in expected
        )
        return [note for note in notes if note]

    @property
    def network_records(self) -> list[RunRecord]:
        """The runs that trained a network."""
        return [record for record in self.records if not record.run.baseline]

    @cached_property
    def missed(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """How often networks tested each subject of `Cohort.tested`, and how often wrongly."""
        count = len(self.cohort.tested)
        tested, wrong = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        # An ensemble is made of networks that are counted already.
        for variant in (one for one in self.variants if not one.is_ensemble):
            tested += np.bincount(variant.subject_N, minlength=count)
            mistakes = variant.subject_N[variant.prediction_N != variant.label_N]
            wrong += np.bincount(mistakes, minlength=count)
        return tested, wrong


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


def baseline_kinds(runs: Sequence[Run]) -> dict[str, Baseline]:
    """Every baseline, by the name that its predictions have, in the order of tables and figures.

    One that was run on several caches, or on parts of the training subjects, is there once for
    each, after the registry's own record.
    """
    names: dict[str, dict[str, Run]] = defaultdict(dict)
    for run in runs:
        if run.baseline and _baseline_name(run) != run.baseline:
            names[run.baseline].setdefault(_baseline_name(run), run)
    kinds: dict[str, Baseline] = {}
    for baseline in BASELINES.values():
        kinds[baseline.name] = baseline
        for name, run in names[baseline.name].items():
            kinds[name] = replace(
                baseline, name=name, volumes=run.volumes, train_fraction=run.train_fraction
            )
    return kinds


def _baseline_name(run: Run) -> str:
    return run.variant.removeprefix("baseline-")


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
            kind = kinds[_baseline_name(run)]
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
