"""What a sweep expands to, where each run lives, and which are done.

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

import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from stfmri.study import predictions, selection
from stfmri.study.candidates import Candidate, inner_config
from stfmri.study.config import CHAIN_KEYS, Config, TrainConfig
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.files import private_dir, read_bytes, read_text, safe_name, write_atomic
from stfmri.study.naming import CONFIG_FILE, folder_part, variant_name, volumes_names
from stfmri.study.overrides import flatten, replaced
from stfmri.study.serialise import dump_yaml, from_dict, load_yaml, to_dict
from stfmri.study.splits import read_file

SWEEP_FILE = "sweep.yaml"
JOBS_FILE = "jobs.csv"
JOB_COLUMNS = ("run", "job_id", "array_index", "submitted_at")
JOB_LINE = re.compile(r"(?P<run>[^,]+),(?P<job>[0-9]+),(?P<index>[0-9]*),(?P<at>[^,]+)")

# Axes that would make runs test other subjects than their neighbours, or mean no variant at all.
NO_AXES = ("root", "data", "split", "cluster", "sweep", "checkpoint")
# Of these groups, keys that leave the subjects as they are.
TRAIN_FRACTION = "split.train_fraction"
AXES_ALL_THE_SAME = ("data.contrasts", "data.missing", TRAIN_FRACTION)
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
        return _without_axes(self.config)

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


@dataclass(frozen=True)
class Submission:
    """A line of jobs.csv."""

    run: str
    job_id: str
    array_index: int | None  # None: no array
    submitted_at: str  # UTC, ISO


def expand(config: Config, choose: Callable[[Mapping[str, str]], Config]) -> list[Run]:
    """Every run of `config.sweep`: models × weights × further axes × seeds × folds, in that order.

    Args:
        config: what the runs have in common, its split complete (see `splits.resolved`).
        choose: gives the configuration with other choices of some groups, {group: choice}; asked
            once for each combination of groups.

    Raises:
        ConfigError: for an axis that cannot be one, an unknown key or choice, a bad value, or two
            variants of one name.
    """
    sweep = config.sweep
    grouped = set(to_dict(config)) & set(sweep.axes)
    _check_axes(config, grouped)
    folds = sweep.folds or tuple(range(config.split.folds))
    if len(set(folds)) != len(folds):
        raise ConfigError(f"sweep.folds names a fold twice: {list(folds)}")
    seeds = _seeds(config)
    curves = _curves(config)
    common, base = flatten(config), _without_axes(config)
    composed: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    seen: dict[str, tuple[Any, ...]] = {}
    runs = []
    for model, weights, *values in itertools.product(
        sweep.models, sweep.weights, *sweep.axes.values()
    ):
        point = dict(zip(sweep.axes, values, strict=True))
        choices = {"model": model} | {key: str(point[key]) for key in point if key in grouped}
        key = tuple(choices.items())
        if key not in composed:
            composed[key] = flatten(choose(choices))
        dotted = {name: value for name, value in point.items() if name not in grouped}
        wanted = {**composed[key], "model.weights": weights, **dotted}
        variant = variant_name(model, weights, values)
        if variant in seen:
            raise ConfigError(
                f"two variants of the sweep are both called {variant}: {seen[variant]} and "
                f"{tuple(values)}; give their values other names, or drop one"
            )
        seen[variant] = tuple(values)
        # Building it checks every value; only what differs is kept.
        full = flatten(replaced(base, _run_keys(wanted), file=f"variant {variant}"))
        changed = {name: value for name, value in _run_keys(full).items() if common[name] != value}
        for (seed, of_seed), fold in itertools.product(seeds.items(), folds):
            replace(config.split, fold=fold)  # refuses a fold that the split does not have
            folder = config.sweep_folder / variant / run_part(seed, fold)
            own = {**changed, **of_seed, "split.fold": fold}
            run = Run(variant, model, weights, fold, folder, own, seed=seed)
            fraction = full[TRAIN_FRACTION]
            runs.append(replace(run, train_fraction=fraction, curve=curves.get(variant, "")))
    return runs


def _curves(config: Config) -> dict[str, str]:
    """Each variant's name without its part of the training subjects; {} where that is no axis."""
    sweep = config.sweep
    if TRAIN_FRACTION not in sweep.axes:
        return {}
    place = list(sweep.axes).index(TRAIN_FRACTION)
    return {
        variant_name(model, weights, values): variant_name(
            model, weights, (*values[:place], *values[place + 1 :])
        )
        for model, weights, *values in itertools.product(
            sweep.models, sweep.weights, *sweep.axes.values()
        )
    }


def run_part(seed: int | None, fold: int) -> str:
    """The part of a run's folder that comes after its variant."""
    return f"fold{fold}" if seed is None else f"seed{seed}/fold{fold}"


def _seeds(config: Config) -> dict[int | None, dict[str, Any]]:
    """What a run of each seed is given; a single seed has no name of its own."""
    seeds = config.sweep.seeds
    if seeds and "train.seed" in config.sweep.axes:
        raise ConfigError(
            "train.seed is an axis of the sweep and sweep.seeds lists seeds too; use sweep.seeds "
            "for trainings that are averaged, the axis for variants of their own"
        )
    if not seeds:
        return {None: {}}
    if config.train.seed not in (TrainConfig().seed, *seeds):
        raise ConfigError(
            f"train.seed={config.train.seed} is none of sweep.seeds={list(seeds)}, which take its "
            "place; leave one of the two out"
        )
    if len(seeds) == 1:
        return {None: {"train.seed": seeds[0]}}
    return {seed: {"train.seed": seed} for seed in seeds}


def _check_axes(config: Config, grouped: set[str]) -> None:
    keys = flatten(config)
    for axis, values in config.sweep.axes.items():
        group = axis.partition(".")[0]
        forbidden = group in NO_AXES and axis not in AXES_ALL_THE_SAME
        if forbidden or axis in ("model", "model.name", "model.weights"):
            instead = (
                "use sweep.models and sweep.weights"
                if group == "model"
                else ("make another sweep of it with --name")
            )
            raise ConfigError(f"{axis} cannot be an axis of a sweep; {instead}")
        if axis not in grouped and axis not in keys:
            raise ConfigError(f"sweep.axes names {axis}, which is neither a group nor a key")
        if not values:
            raise ConfigError(f"sweep.axes.{axis} lists no values")


def _without_axes(config: Config) -> Config:
    """What its runs have in common; with all values in each, cost would grow as their square."""
    return replace(config, sweep=replace(config.sweep, axes={}))


def _run_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without the keys that belong to the sweep as a whole."""
    return {key: value for key, value in values.items() if not key.startswith("sweep.")}


def sweep_folder(root: Path, name: str) -> Path:
    """`<root>/runs/<name>`, for a name that may stand in a path."""
    return root / "runs" / safe_name(name, "the sweep's name")


def write_sweep(sweep: Sweep) -> None:
    """Write sweep.yaml."""
    runs = [
        {"run": run.name, "model": run.model, "weights": run.weights, "overrides": run.overrides}
        for run in sweep.runs
    ]
    content = {
        "choice": sweep.choice,
        "typed": list(sweep.typed),
        "config": to_dict(sweep.config),
        "baselines": list(sweep.baselines),
        "blind": list(sweep.blind),
        "candidates": [asdict(candidate) for candidate in sweep.candidates],
        "runs": runs,
    }
    private_dir(sweep.folder)
    write_atomic(sweep.folder / SWEEP_FILE, dump_yaml(content))


def load_sweep(folder: Path) -> Sweep:
    """Read a sweep that `write_sweep` wrote.

    Its folder may have been moved, with the whole root, or renamed: the root is where the folder
    lies now, and the sweep is called as the folder.

    Raises:
        UserError: where the folder holds no sweep, or a damaged one.
    """
    path = folder / SWEEP_FILE
    if not path.is_file():
        raise UserError(_no_sweep(folder))
    try:
        content = load_yaml(read_text(path), str(path))
        _refuse_earlier(content["config"], folder)
        config = from_dict(Config, content["config"], file=str(path))
        # Not resolved: runs/ may be a link to another disk, and data/ lies beside the link.
        config = replace(
            config,
            root=str(folder.absolute().parent.parent),
            sweep=replace(config.sweep, name=folder.name),
        )
        curves = _curves(config)
        runs = [_run(config, item, curves) for item in content["runs"]]
        # A sweep of an earlier version has no baselines.
        baselines = tuple(content.get("baselines", ()))
        blind = tuple(content.get("blind", ()))
        candidates = tuple(Candidate(**item) for item in content.get("candidates", ()))
        typed = tuple(content["typed"])
        _require_every_run(config, runs)
        return Sweep(config, runs, content["choice"], typed, baselines, blind, candidates)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({error!r}); restore it, or use another --name"
        ) from error


def _require_every_run(config: Config, runs: Sequence[Run]) -> None:
    """Refuse a list of runs that is not what its own configuration expands to.

    Raises:
        ValueError: saying how many there are.
    """
    sweep = config.sweep
    variants = len(sweep.models) * len(sweep.weights)
    for values in sweep.axes.values():
        variants *= len(values)
    folds = sweep.folds or tuple(range(config.split.folds))
    trainings = {(run.seed, run.fold) for run in runs}
    wanted = set(itertools.product(_seeds(config), folds))
    names = {run.name for run in runs}
    expected = variants * len(wanted)
    if trainings != wanted or len(names) != expected or len(runs) != expected:
        raise ValueError(
            f"lists {len(runs)} runs of the folds {sorted({run.fold for run in runs})}, expected "
            f"{expected} of the folds {sorted(folds)}"
        )


def _refuse_earlier(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse a sweep that says nothing of settings which decide its voxels: they were others."""
    unknown = [
        f"{group}.{key}"
        for group, keys in CHAIN_KEYS.items()
        for key in keys
        if key not in config.get(group, {})
    ]
    if unknown:
        raise UserError(
            f"{folder} was submitted with an earlier version, whose volumes this one does not read "
            f"(it does not say {unknown[0]}): use that version, kept in {folder}/code-…, or submit "
            "the sweep again under another --name"
        )


def _run(config: Config, item: Mapping[str, Any], curves: Mapping[str, str]) -> Run:
    before, _, fold = item["run"].rpartition("/fold")
    variant, several, number = before.partition("/seed")
    seed = int(number) if several else None
    parent = config.sweep_folder / safe_name(variant, "a variant's name")
    folder = parent / run_part(seed, int(fold))
    overrides = dict(item["overrides"])
    return Run(
        variant,
        item["model"],
        item["weights"],
        int(fold),
        folder,
        overrides,
        seed=seed,
        train_fraction=overrides.get(TRAIN_FRACTION, config.split.train_fraction),
        curve=curves.get(variant, ""),
    )


def _no_sweep(folder: Path) -> str:
    others = sorted(path.parent.name for path in folder.parent.glob(f"*/{SWEEP_FILE}"))
    known = f"there are: {', '.join(others)}" if others else "there is none yet"
    return (
        f"no sweep at {folder}; {known} (in {folder.parent}). "
        f"Submit it first: python launch/submit.py --sweep {folder.name}"
    )


def append_jobs(sweep_folder: Path, lines: Sequence[Submission]) -> None:
    """Add lines to jobs.csv, in one write, so that two submissions do not mix."""
    rows = [
        f"{line.run},{line.job_id},{'' if line.array_index is None else line.array_index},"
        f"{line.submitted_at}\n"
        for line in lines
    ]
    path = private_dir(sweep_folder) / JOBS_FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        before = file.read()
        if not before:
            rows.insert(0, ",".join(JOB_COLUMNS) + "\n")
        elif not before.endswith(b"\n"):
            rows.insert(0, "\n")  # a full disk cut the last line off; it must not spoil the next
        file.write("".join(rows).encode())
        file.flush()
        os.fsync(descriptor)


def submissions(sweep_folder: Path) -> list[Submission]:
    """Every line of jobs.csv, in order; what a cut-off line leaves is passed over."""
    path = sweep_folder / JOBS_FILE
    try:
        text = read_bytes(path).decode(errors="replace")
    except FileNotFoundError:
        return []
    lines = map(JOB_LINE.fullmatch, text.split("\n"))
    return [
        Submission(
            line["run"], line["job"], int(line["index"]) if line["index"] else None, line["at"]
        )
        for line in lines
        if line
    ]


def last_jobs(sweep_folder: Path) -> dict[str, Submission]:
    """The last submission of each run."""
    return {line.run: line for line in submissions(sweep_folder)}


def now() -> str:
    """This moment as jobs.csv has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
