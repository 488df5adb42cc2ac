"""The runs that a sweep expands to: models × weights × further axes × seeds × folds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from stfmri.study.config import Config
from stfmri.study.config.training import TrainConfig
from stfmri.study.errors import ConfigError
from stfmri.study.naming import variant_name
from stfmri.study.overrides import flatten, replaced
from stfmri.study.runs import TRAIN_FRACTION, Run, run_part, without_axes
from stfmri.study.serialise import to_dict

# Axes that would make runs test other subjects than their neighbours, or mean no variant at all.
NO_AXES = ("root", "data", "split", "cluster", "sweep", "checkpoint")
# Of these groups, keys that leave the subjects as they are.
AXES_ALL_THE_SAME = ("data.contrasts", "data.missing", TRAIN_FRACTION)


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
    seeds = seeds_of(config)
    curves = curves_of(config)
    common, base = flatten(config), without_axes(config)
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


def curves_of(config: Config) -> dict[str, str]:
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


def seeds_of(config: Config) -> dict[int | None, dict[str, Any]]:
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


def _run_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without the keys that belong to the sweep as a whole."""
    return {key: value for key, value in values.items() if not key.startswith("sweep.")}
