"""Baselines on folds: the runs of those that are fitted, and the tables of look-ups.

`runs/<sweep>/baseline-<name>/fold<k>/` holds `provenance.json` and, written last,
`predictions.csv`.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from stfmri.evidence.baselines import BASELINES
from stfmri.evidence.baselines.features import Progress, VolumeFeatures, volume_features
from stfmri.evidence.baselines.record import Baseline, Fitted, Task
from stfmri.evidence.cohort import Cohort, read_cohort
from stfmri.study import locks, predictions
from stfmri.study.config import Config
from stfmri.study.files import clear_leftovers, private_dir, write_atomic
from stfmri.study.git import code_state
from stfmri.study.predictions import PredictionTable, of_subject
from stfmri.study.runs import Run, Sweep

PACKAGES = ("scikit-learn", "numpy", "scipy", "h5py")
PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class Failure:
    """A run that was not done, and why."""

    run: Run
    error: Exception


def run_baselines(
    sweep: Sweep,
    runs: Sequence[Run],
    on_end: Callable[[Run], None] = lambda run: None,  # noqa: ARG005
    progress: Progress = iter,
) -> list[Failure]:
    """Run those of `runs` that are not done; one that fails does not stop the others.

    Args:
        sweep: as it was submitted.
        runs: some of its `baseline_runs`.
        on_end: told of each run as it ends.
        progress: wraps the subjects whose features are extracted.

    Returns:
        The runs that failed, or that another process holds.

    Raises:
        UserError: where the cohort, its split or its volumes cannot be read.
    """
    to_do = {run.name for run in runs if not run.is_done()}
    failures: list[Failure] = []
    # Cache by cache: features of all of them need not be in memory at once.
    for volumes in dict.fromkeys(run.volumes for run in runs):
        of_cache = [run for run in runs if run.volumes == volumes]
        inputs = _inputs(sweep, [run for run in of_cache if run.name in to_do], progress)
        for run in of_cache:
            if inputs is not None and run.name in to_do:
                try:
                    _run(inputs, run)
                except Exception as error:
                    failures.append(Failure(run, error))
            on_end(run)
    return failures


def task_of(
    config: Config,
    cohort: Cohort,
    fold: int,
    features: VolumeFeatures | None = None,
    train_fraction: float = 1.0,
) -> Task:
    """One fold of the cohort, as a baseline sees it, or a fraction of its training part."""
    parts = cohort.fold(fold, train_fraction)
    return Task(
        train=[cohort.subjects[name] for name in parts.train],
        test=[cohort.subjects[name] for name in parts.test],
        classes=cohort.classes,
        fold=fold,
        covariates=config.data.covariates,
        features=features,
    )


def fitting_lookups(config: Config, cohort: Cohort) -> list[Baseline]:
    """The look-ups that can be used on the cohort, in the order of the registry."""
    return [
        one for one in BASELINES.values() if one.is_lookup and not one.unfit(config, cohort.used)
    ]


def lookup_table(
    lookup: Baseline, config: Config, cohort: Cohort, fold: int, train_fraction: float = 1.0
) -> tuple[PredictionTable, Fitted]:
    """What a look-up predicts of a fold's test set, as a table like a network's.

    Args:
        lookup: one of `fitting_lookups`.

    Returns:
        One row for each test subject, in the split's order; and the same with the look-up's facts.
    """
    task = task_of(config, cohort, fold, train_fraction=train_fraction)
    fitted = lookup.predict(task)
    rows = tuple(
        of_subject(subject, fold, cohort.classes, tuple(map(float, shares)))
        for subject, shares in zip(task.test, fitted.probability_NK, strict=True)
    )
    return PredictionTable(Path(f"{lookup.name}/fold{fold}"), cohort.classes, rows), fitted


@dataclass(frozen=True)
class _Inputs:
    """What baselines of one cache have in common."""

    config: Config
    cohort: Cohort
    features: VolumeFeatures | None
    features_s: float  # spent on reading them


def _inputs(sweep: Sweep, runs: Sequence[Run], progress: Progress) -> _Inputs | None:
    """The inputs of runs that read one cache; None where there is nothing to do."""
    if not runs:
        return None
    config = sweep.config_of(runs[0])
    cohort = read_cohort(config.cache, config.split_file, sweep.classes, sha256=config.split.sha256)
    began = time.perf_counter()
    features = _features(config, cohort, runs, progress)
    return _Inputs(config, cohort, features, time.perf_counter() - began)


def _features(
    config: Config, cohort: Cohort, runs: Sequence[Run], progress: Progress
) -> VolumeFeatures | None:
    """What the runs read of the volumes; None where they read none."""
    names = dict.fromkeys(run.baseline for run in runs)
    extractors = [one for name in names for one in BASELINES[name].extractors]
    if not extractors:
        return None
    spacing_mm = config.preprocessing.spacing_mm
    return volume_features(
        config.cache,
        spacing_mm,
        cohort.used,
        extractors,
        progress,
        external=config.external_cache,
    )


def _run(inputs: _Inputs, run: Run) -> None:
    """Fit one baseline on one fold, and write what it says."""
    with locks.lock(private_dir(run.folder)):
        if run.is_done():  # by another process, meanwhile
            return
        clear_leftovers([run.folder])
        cohort = inputs.cohort
        task = task_of(inputs.config, cohort, run.fold, inputs.features, run.train_fraction)
        began = time.perf_counter()
        fitted = BASELINES[run.baseline].predict(task)
        timings = {"features_s": inputs.features_s, "fit_s": time.perf_counter() - began}
        record = {**_origin(), "baseline": run.baseline, "timings": timings}
        record["cache"] = inputs.config.cache.name
        record["facts"] = dict(fitted.facts)
        write_atomic(run.folder / PROVENANCE, json.dumps(record, indent=1) + "\n")
        predictions.write(
            run.folder / predictions.FILE_NAME,
            subjects=task.test,
            fold=run.fold,
            classes=cohort.classes,
            probabilities=fitted.probability_NK,
        )


def _origin() -> dict[str, Any]:
    """Versions, code and machine of this process."""
    return {
        "versions": {
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in PACKAGES},
        },
        "code": code_state(),
        "host": platform.node(),
        "platform": platform.platform(),
        "device": "CPU",
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }
