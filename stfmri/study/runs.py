"""The runs of a sweep: where each lives, what it is made with, and which are done.

runs/<sweep>/sweep.yaml           the configuration and the list of runs, written once
runs/<sweep>/jobs.csv             which job each run was handed to, a line a submission
runs/<sweep>/<variant>/fold<k>/   one run; <variant> is <model>-<weights>, then the value of each
                                  further axis, in the sweep's order
runs/<sweep>/<variant>/seed<s>/fold<k>/   the same where the sweep has several seeds
runs/<sweep>/baseline-<name>/fold<k>/   one fold of a baseline, which trains no network; where the
                                  variants read several caches, baseline-<name>-<volumes>, and of
                                  a smaller training part baseline-<name>-train_<fraction>
<run>/select/<candidate>/         an inner run: a candidate of `sweep.select`, trained on a part of
                                  the run's own training subjects and judged on the rest of them
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from stfmri.study import predictions, selection
from stfmri.study.candidates import Candidate, inner_config
from stfmri.study.config import Config
from stfmri.study.files import safe_name
from stfmri.study.naming import CONFIG_FILE, folder_part, volumes_names
from stfmri.study.overrides import replaced
from stfmri.study.splits import read_file

TRAIN_FRACTION = "split.train_fraction"
# Groups whose keys tell a baseline's cache and fold.
OF_THE_CACHE = ("data.", "preprocessing.", "split.")


@dataclass(frozen=True)
class Run:
    """One variant, or one baseline, on one fold."""

    variant: str
    model: str
    weights: str  # as model.weights has it
    fold: int
    folder: Path
    overrides: dict[str, Any] = field(default_factory=dict)  # where it leaves the sweep's config
    baseline: str = ""  # its name; empty for a network, as model and weights are for a baseline
    volumes: str = ""  # which of the sweep's caches a baseline sees, such as t1ce+flair; empty: any
    candidate: str = ""  # of an inner run, which a selection is made on; empty for any other
    seed: int | None = None  # train.seed, where the sweep has several of them
    train_fraction: float = 1.0  # of its fold's training part
    curve: str = ""  # the variant without that, where it is an axis: those of one name are a curve

    @property
    def name(self) -> str:
        """Unique in the sweep, and the run's folder within it."""
        inner = f"/{selection.FOLDER}/{self.candidate}" if self.candidate else ""
        return f"{self.variant}/{run_part(self.seed, self.fold)}{inner}"

    @property
    def config_file(self) -> Path:
        """The run's complete, frozen configuration."""
        return self.folder / CONFIG_FILE

    def is_done(self) -> bool:
        """Whether its predictions are there, whole, and of its fold.

        An inner run that diverged is done too: its candidate is not chosen.
        """
        if self.candidate:
            return selection.is_judged(self.folder, self.fold)
        return predictions.is_done(self.folder, self.fold)


@dataclass(frozen=True)
class Sweep:
    """A sweep as submitted."""

    config: Config
    runs: list[Run]  # of networks
    choice: str = ""  # of conf/sweep
    typed: tuple[str, ...] = ()  # the overrides of the first submission, paths absolute
    baselines: tuple[str, ...] = ()  # those run on the same folds, which fit the cohort
    blind: tuple[str, ...] = ()  # those of them that see no volume: any cache will do
    candidates: tuple[Candidate, ...] = ()  # of which each run of a network chooses one

    @property
    def name(self) -> str:
        """The folder's name in runs/ and results/."""
        return self.config.sweep.name

    @property
    def note(self) -> str:
        """A caution that the report prints at its top."""
        return self.config.sweep.note

    @property
    def folder(self) -> Path:
        """`runs/<sweep>`."""
        return self.config.sweep_folder

    @cached_property
    def _common(self) -> Config:
        return without_axes(self.config)

    @cached_property
    def baseline_runs(self) -> list[Run]:
        """Every baseline on every fold that networks are tested on, and on every cache."""
        folds = sorted({run.fold for run in self.runs})
        first = dict.fromkeys([""], self.runs[0]) if self.runs else {}
        return [
            self._baseline_run(baseline, fold, volumes, of_cache, fraction)
            for baseline in self.baselines
            for volumes, of_cache in (first if baseline in self.blind else self.volumes).items()
            for fraction in self.train_fractions
            for fold in folds
        ]

    def _baseline_run(
        self, baseline: str, fold: int, volumes: str, of_cache: Run, fraction: float
    ) -> Run:
        """A baseline's run that reads the same cache as a network's."""
        whole = f"{baseline}-{folder_part(volumes)}" if volumes else baseline
        is_part = fraction < 1 and len(self.train_fractions) > 1
        name = f"{whole}-train_{fraction:g}" if is_part else whole
        variant = safe_name(f"baseline-{name}", "a baseline's folder")
        own = {k: v for k, v in of_cache.overrides.items() if k.startswith(OF_THE_CACHE)}
        own.pop(TRAIN_FRACTION, None)
        if fraction != self.config.split.train_fraction:
            own[TRAIN_FRACTION] = fraction
        return Run(
            variant,
            "",
            "",
            fold,
            self.folder / variant / f"fold{fold}",
            {**own, "split.fold": fold},
            baseline,
            volumes,
            train_fraction=fraction,
            curve=f"baseline-{whole}" if TRAIN_FRACTION in self.config.sweep.axes else "",
        )

    @cached_property
    def train_fractions(self) -> tuple[float, ...]:
        """The parts of a fold's training subjects that its runs train on, in their order."""
        return tuple(dict.fromkeys(run.train_fraction for run in self.runs))

    @cached_property
    def volumes(self) -> dict[str, Run]:
        """Each cache, by what sets its volumes apart in the sweep, and the first run that reads it.

        The name is empty where there is one cache; else such as `t1ce+flair` or `spacing_mm 4`.
        """
        variants: dict[str, Run] = {}
        for run in self.runs:
            variants.setdefault(run.variant, run)
        first: dict[Path, Run] = {}
        for run in variants.values():
            first.setdefault(self.config_of(run).cache, run)
        names = volumes_names([self.config_of(run).chain for run in first.values()] or [{}])
        return dict(zip(names, first.values(), strict=False))

    @property
    def all_runs(self) -> list[Run]:
        """Baselines, which run first on one machine, and networks."""
        return [*self.baseline_runs, *self.runs]

    @property
    def networks(self) -> list[Run]:
        """Every run that trains a network; the inner ones come before the run that chooses."""
        return [one for run in self.runs for one in (*self.inner_runs(run), run)]

    def inner_runs(self, run: Run) -> list[Run]:
        """The runs that a network's run chooses by, a candidate each; none where it does not."""
        if run.baseline or run.candidate:
            return []
        return [
            replace(
                run,
                folder=selection.inner_folder(run.folder, candidate.name),
                candidate=candidate.name,
            )
            for candidate in self.candidates
        ]

    @cached_property
    def _candidate_named(self) -> dict[str, Candidate]:
        return {candidate.name: candidate for candidate in self.candidates}

    @cached_property
    def first(self) -> Config:
        """The configuration of its first run.

        Where voxel size or contrasts are an axis there are several caches; they hold the same
        subjects, divided in the same way.
        """
        return self.config_of(self.runs[0]) if self.runs else self.config

    @property
    def cache(self) -> Path:
        """The folder of shards, of the first run."""
        return self.first.cache

    @property
    def splits(self) -> Path:
        """The split file, of the first run."""
        return self.first.split_file

    @property
    def split_sha256(self) -> str:
        """Hash of that file's folds as submitted; empty where the sweep is older than the hash."""
        return self.first.split.sha256

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the tables; as the split found them, if none were given."""
        if self.config.data.classes:
            return self.config.data.classes
        return read_file(self.splits).classes

    @cached_property
    def by_cache(self) -> dict[Path, Config]:
        """The first run's configuration of each cache that its runs read; most often one."""
        configs = map(self.config_of, self.volumes.values())
        return {config.cache: config for config in configs}

    def with_splits(self, sha256: Mapping[Path, str]) -> Sweep:
        """The sweep with the hash of each cache's split in it, as sweep.yaml and its runs have it.

        Args:
            sha256: of each of `by_cache`.
        """
        split = replace(self.config.split, sha256=sha256[self.cache])
        config = replace(self.config, split=split)
        runs = []
        for run in self.runs:
            own = sha256[self.config_of(run).cache]
            more = {} if own == split.sha256 else {"split.sha256": own}
            runs.append(replace(run, overrides={**run.overrides, **more}))
        return replace(self, config=config, runs=runs)

    def config_of(self, run: Run) -> Config:
        """The complete configuration of one of its runs."""
        config = replaced(self._common, run.overrides, file=run.name)
        if run.candidate:
            return inner_config(config, self._candidate_named[run.candidate])
        return config


def run_part(seed: int | None, fold: int) -> str:
    """The part of a run's folder that comes after its variant."""
    return f"fold{fold}" if seed is None else f"seed{seed}/fold{fold}"


def without_axes(config: Config) -> Config:
    """What its runs have in common; with all values in each, cost would grow as their square."""
    return replace(config, sweep=replace(config.sweep, axes={}))
