"""Which sweep is meant: the one submitted before, or a new one of what was typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launch import volumes
from stfmri.evidence.baselines import BASELINES, fitting_baselines, left_out
from stfmri.study import splits
from stfmri.study.caches import caches_of
from stfmri.study.candidates import candidates_of
from stfmri.study.compose import PATH_KEYS, Asked, compose, groups, parse_overrides
from stfmri.study.config import Config
from stfmri.study.config.sweep import ClusterConfig, SweepConfig
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.expansion import expand
from stfmri.study.files import SAFE_NAME, safe_name
from stfmri.study.overrides import flatten
from stfmri.study.runs import Sweep
from stfmri.study.splits import Subject, subjects_in
from stfmri.study.sweep_file import SWEEP_FILE, load_sweep, sweep_folder
from stfmri.study.words import listed

# Keys that a sweep sets for each of its runs, and what takes their place.
SET_BY_SWEEP = {
    "model": "sweep.models=[…]",
    "model.name": "sweep.models=[…]",
    "model.weights": "sweep.weights=[…]",
    "split.fold": "sweep.folds=[…]",
    "split.inner": "sweep.select={…}",
    "sweep.name": "--name",
}


@dataclass(frozen=True)
class Opened:
    """A sweep, as submitted before or as it would be submitted now.

    Attributes:
        cluster: of this call; the cluster is not frozen with the rest.
        note: what the user should know, if anything.
    """

    sweep: Sweep
    cluster: ClusterConfig
    is_new: bool
    note: str = ""


def open_sweep(choice: str, name: str | None, root: Path, typed: Sequence[str]) -> Opened:
    """Read the sweep where it was submitted before, else compose it.

    Args:
        choice: of conf/sweep.
        name: of the sweep's folder; None takes the choice's own.
        typed: the overrides on the command line.

    Raises:
        UserError: where what was typed differs from the sweep as it was submitted.
    """
    if choice not in groups()["sweep"] and _was_submitted(root, name or choice):
        return resume_sweep(name or choice, root, typed)
    asked = parse_overrides(typed)
    for item in asked:
        if item.key in SET_BY_SWEEP:
            raise ConfigError(f"a sweep sets {item.key} itself; use {SET_BY_SWEEP[item.key]}")
    # In quotes: Hydra would take a name such as 1e5 for a number.
    named = () if name is None else (f"sweep.name='{safe_name(name, '--name')}'",)

    def composed(overrides: Iterable[str], choices: Mapping[str, str] | None = None) -> Config:
        config = compose([*overrides, *named], sweep=choice, root=root, choices=choices)
        # A sweep's file may say how many folds it has with the split that it names itself.
        split = replace(config.split, n=0) if splits.needs_data(config) else config.split
        return replace(config, split=split)

    def choose(choices: Mapping[str, str]) -> Config:
        return composed(typed, choices)

    config = composed(typed)
    if splits.needs_data(config) and any(item.key == "split.n" for item in asked):
        raise ConfigError(
            f"split={config.split.kind} takes the number of folds from the data; leave split.n out"
        )
    folder = sweep_folder(root, config.sweep.name)
    if not (folder / SWEEP_FILE).is_file():
        config = _with_folds(config, choice, choose)
        runs = expand(config, lambda choices: replace(choose(choices), split=config.split))
        sweep = Sweep(
            config,
            runs,
            choice,
            _absolute(asked, config),
            candidates=candidates_of(config, choose),
        )
        subjects = _known_subjects(sweep.first)
        fitting = fitting_baselines(config, subjects)
        blind = tuple(name for name in fitting if not BASELINES[name].sees_images)
        complete = replace(sweep, baselines=fitting, blind=blind)
        was_chosen = config.sweep.baselines != SweepConfig().baselines
        without = left_out(config, subjects) if was_chosen else []
        note = f"baselines that are not run: {listed(without)}" if without else ""
        return Opened(complete, config.cluster, is_new=True, note=note)

    saved = load_sweep(folder)
    _refuse_changes(saved, choice, asked, flatten(splits.as_submitted(config, saved.config)))
    cluster = [text for text in typed if _is_cluster(text)]
    before = [text for text in saved.typed if not (cluster and _is_cluster(text))]
    today = splits.as_submitted(composed([*before, *cluster]), saved.config)
    return Opened(saved, today.cluster, is_new=False, note=_drift(saved, flatten(today)))


def resume_sweep(name: str, root: Path, typed: Sequence[str]) -> Opened:
    """Go on with a sweep by its own sweep.yaml, whether conf/sweep still has its choice or not.

    Args:
        typed: overrides, which may be of `cluster` alone.

    Raises:
        UserError: where there is no such sweep, or another setting was typed.
    """
    saved = load_sweep(sweep_folder(root, name))
    others = [item.key for item in parse_overrides(typed) if not _is_cluster(item.key)]
    if others:
        raise ConfigError(
            f"{saved.folder} goes on as it was submitted, and only settings of cluster may change; "
            f"leave out {', '.join(others)}, or make another sweep with --sweep and --name"
        )
    is_known = saved.choice in groups()["sweep"]
    words = typed or [text for text in saved.typed if _is_cluster(text)]
    if typed or is_known:
        composed = compose(words, sweep=saved.choice if is_known else None, root=root)
        return Opened(saved, composed.cluster, is_new=False)
    return Opened(saved, saved.config.cluster, is_new=False)


def _was_submitted(root: Path, name: str) -> bool:
    is_name = SAFE_NAME.fullmatch(name) is not None
    return is_name and (sweep_folder(root, name) / SWEEP_FILE).is_file()


def _known_subjects(config: Config) -> list[Subject]:
    """The cohort; nobody where it has yet to be preprocessed, which is refused later."""
    try:
        return subjects_in(splits.rows_of(config), config.data.label)
    except UserError:
        return []


def _with_folds(
    config: Config, sweep: str, choose: Callable[[Mapping[str, str]], Config]
) -> Config:
    """The number of folds filled in, where it takes the data to know it; `sweep` is of conf/sweep.

    Raises:
        UserError: where the data is not there, or the sweep's caches differ in it.
    """
    if not splits.needs_data(config):
        return config
    caches = caches_of(config, choose).values()
    for each in caches:
        volumes.require_built(each, sweep)
    found = {each.cache: splits.resolved(each).split for each in caches}
    first, *others = found.values()
    if any((other.n, other.column) != (first.n, first.column) for other in others):
        counts = ", ".join(f"{cache}: {split.n}" for cache, split in found.items())
        raise UserError(
            f"the caches of this sweep give different numbers of folds ({counts}); preprocess the "
            "same scans for each, or make a sweep of each with --name"
        )
    return replace(config, split=replace(config.split, n=first.n, column=first.column))


def _is_cluster(text: str) -> bool:
    return text.lstrip("+").partition("=")[0].split(".")[0] == "cluster"


def _absolute(asked: Sequence[Asked], config: Config) -> tuple[str, ...]:
    """What was typed, its paths made absolute, so that it means the same from any folder."""
    values = flatten(config)

    def text(item: Asked) -> str:
        value = values[item.key] if item.key in PATH_KEYS else item.value
        return f"{item.key}={'null' if value is None else value}"

    return tuple(text(item) for item in asked)


def _refuse_changes(
    saved: Sweep, choice: str, asked: Sequence[Asked], values: Mapping[str, object]
) -> None:
    if choice != saved.choice:
        raise UserError(
            f"{saved.folder} is a sweep of conf/sweep/{saved.choice}.yaml, asked for now is "
            f"{choice}; choose another --name"
        )
    before = flatten(saved.config)
    differing = [
        f"{key} was {before.get(key)}, now {value}"
        for key, value in values.items()
        if not _is_cluster(key)
        and value != before.get(key)
        and any(item.touches(key) for item in asked)
    ]
    if differing:
        raise UserError(
            f"{saved.folder} was submitted with other values: {'; '.join(differing)}. A sweep "
            "goes on as it began: leave these out, or make another sweep with --name"
        )


def _drift(saved: Sweep, values: Mapping[str, object]) -> str:
    """What conf/ now says otherwise than when the sweep was first submitted."""
    before = flatten(saved.config)
    changed = [
        f"{key} {before.get(key)} → {value}"
        for key, value in values.items()
        if not _is_cluster(key) and key != "root" and value != before.get(key)
    ]
    if not changed:
        return ""
    return (
        f"conf/ has changed since this sweep was first submitted ({', '.join(changed)}); the sweep "
        "goes on as it began, --name makes another"
    )
