"""From the runs of a sweep to counts: who was missed by whom, per variant and fold.

One run is read at a time and only its counts are kept, so that memory grows with the number of
variants and not with the number of predictions.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stfmri.evidence.cohort import Cohort
from stfmri.evidence.lookups import BASELINE_LABELS, BASELINES, baseline_table
from stfmri.evidence.references import Reference
from stfmri.study import predictions
from stfmri.study.model_labels import MODEL_LABELS
from stfmri.study.predictions import PredictionError, PredictionTable
from stfmri.study.runs import Run


@dataclass
class Tally:
    """The counts of one variant, or of one baseline.

    Attributes:
        name: `<variant>` or the name of the baseline.
        label: the same in words.
        model, weights, extra: what the name is made of; empty for a baseline.
        folds: numbers of the folds read, rising.
        fold_confusions: shape (K, K) for each fold, rows true.
        patient_confusions: shape (P, K, K), the same counts by patient instead of by fold.
    """

    name: str
    label: str
    model: str
    weights: str
    extra: str
    patient_confusions: npt.NDArray[np.int32]
    folds: list[int] = field(default_factory=list)
    fold_confusions: list[npt.NDArray[np.int32]] = field(default_factory=list)

    def add(self, table: PredictionTable, fold: int, cohort: Cohort) -> None:
        """Count the predictions of one more fold."""
        index = {name: number for number, name in enumerate(cohort.classes)}
        counts = np.zeros((len(index), len(index)), dtype=np.int32)
        for row in table.rows:
            patient = cohort.patient_index[cohort.subjects[row.subject_id].patient_id]
            pair = index[row.label], index[row.prediction]
            counts[pair] += 1
            self.patient_confusions[(patient, *pair)] += 1
        self.folds.append(fold)
        self.fold_confusions.append(counts)

    @property
    def pooled(self) -> npt.NDArray[np.int32]:
        """Counts over all folds, shape (K, K)."""
        return np.sum(self.fold_confusions, axis=0)


@dataclass(frozen=True)
class RunRecord:
    """What a run says of itself: whether it counts, and how it was made."""

    run: Run
    missing_because: str  # empty for a run that was read
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """Everything that tables, figures and the report are made of."""

    sweep: str
    note: str
    cohort: Cohort
    variants: tuple[Tally, ...]
    baselines: tuple[Tally, ...]
    records: tuple[RunRecord, ...]
    # Test predictions of all networks, and the wrong ones among them, by subject.
    tested: Counter[str]
    missed: Counter[str]
    # `key=value` of every choice about data, networks and training that is not the default.
    choices: tuple[str, ...] = ()
    # The published study that the configuration names.
    reference: Reference | None = None

    @property
    def cited(self) -> Reference | None:
        """The study to print beside the scores; None where its classes are not the cohort's."""
        reference = self.reference
        return reference if reference and reference.fits(self.cohort.classes) else None

    @property
    def missing(self) -> list[str]:
        """Names of the runs that gave no evidence."""
        return [record.run.name for record in self.records if record.missing_because]


def gather(
    sweep: str,
    note: str,
    runs: Sequence[Run],
    cohort: Cohort,
    progress: Callable[[Sequence[Run]], Iterable[Run]] = iter,
) -> Evidence:
    """Read the predictions of every run; a run without valid ones is recorded as missing.

    Args:
        sweep: name of the sweep.
        note: a caution to print with the results, or empty.
        runs: the runs that the sweep expects.
        cohort: its subjects and folds.
        progress: wraps the iteration, to show how far it is.
    """
    tallies: dict[str, Tally] = {}
    records: list[RunRecord] = []
    tested: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for run in progress(runs):
        try:
            table = read_run(run, cohort)
        except PredictionError as error:
            absent = not (run.folder / predictions.FILE_NAME).is_file()
            reason = "no predictions" if absent else str(error)
            records.append(RunRecord(run, reason, _provenance(run.folder)))
            continue
        if run.variant not in tallies:
            tallies[run.variant] = _new_tally(run, cohort)
        tallies[run.variant].add(table, run.fold, cohort)
        tested.update(row.subject_id for row in table.rows)
        missed.update(row.subject_id for row in table.rows if row.label != row.prediction)
        records.append(RunRecord(run, "", _provenance(run.folder)))
    folds = sorted({run.fold for run in runs})
    baselines = tuple(_baseline_tally(name, cohort, folds) for name in BASELINES)
    variants = tuple(tallies.values())
    return Evidence(sweep, note, cohort, variants, baselines, tuple(records), tested, missed)


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


def _new_tally(run: Run, cohort: Cohort) -> Tally:
    """An empty tally for the variant of `run`."""
    extra = run.variant.removeprefix(f"{run.model}-{run.weights}").lstrip("-")
    words = [MODEL_LABELS.get(run.model, run.model)]
    if run.weights == "kinetics":
        words.append("pre-trained")
    if extra:
        words.append(extra)
    return Tally(run.variant, ", ".join(words), run.model, run.weights, extra, _no_counts(cohort))


def _baseline_tally(name: str, cohort: Cohort, folds: Sequence[int]) -> Tally:
    """The tally of a baseline over `folds`."""
    tally = Tally(name, BASELINE_LABELS[name], "", "", "", _no_counts(cohort))
    for fold in folds:
        tally.add(baseline_table(name, cohort, fold), fold, cohort)
    return tally


def _no_counts(cohort: Cohort) -> npt.NDArray[np.int32]:
    classes = len(cohort.classes)
    return np.zeros((len(cohort.patient_index), classes, classes), dtype=np.int32)


def _provenance(folder: Path) -> dict[str, Any]:
    """`provenance.json` of a run, or nothing where it is missing or broken.

    It is shown beside the results and decides nothing, so that a broken one spoils no report.
    """
    try:
        content = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
