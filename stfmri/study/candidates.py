"""The settings that a sweep chooses among in each fold: `sweep.select`, as a grid of candidates."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stfmri.study.config import Config
from stfmri.study.errors import ConfigError
from stfmri.study.naming import folder_part, value_text
from stfmri.study.overrides import flatten, replaced

# Groups that change neither the voxels nor who is tested.
GROUPS = ("train", "augment", "model")
# Keys of them that tell one variant from another, or that belong to such a key.
OF_THE_VARIANT = (
    "model.name",
    "model.weights",
    "model.weights_file",
    "model.weights_name",
    "model.weights_hash",
)
# The share of a fold's training subjects that judges candidates, where split.val_fraction is 0.
FRACTION = 0.25


@dataclass(frozen=True)
class Candidate:
    """One combination of the values that a sweep chooses among.

    Attributes:
        name: of its folder, unique in the sweep.
        values: as listed, by key or group.
        overrides: dotted keys, where it leaves the sweep's configuration.
    """

    name: str
    values: dict[str, Any]
    overrides: dict[str, Any]


def candidates_of(
    config: Config, choose: Callable[[Mapping[str, str]], Config]
) -> tuple[Candidate, ...]:
    """The candidates of `config.sweep.select`, in the order listed; none where nothing is chosen.

    Args:
        choose: gives the configuration with other choices of some groups, {group: choice}.

    Raises:
        ConfigError: for a key that cannot be chosen in a fold, an unknown key or a bad value, and
            where there is no choice.
    """
    select = config.sweep.select
    if not select:
        return ()
    _check_keys(config)
    usual = flatten(config)
    found = []
    for values in grid(select):
        groups = {key: str(value) for key, value in values.items() if key in GROUPS}
        chosen = flatten(choose(groups)) if groups else {}
        wanted = {key: value for key, value in chosen.items() if key.startswith(_dotted(groups))}
        wanted |= {key: value for key, value in values.items() if key not in groups}
        # Building it checks every value. Of a group only what differs is kept: a run may have set
        # other keys of it, such as the seed.
        full = flatten(replaced(config, wanted, file="sweep.select"))
        overrides = {k: full[k] for k in wanted if k in values or full[k] != usual[k]}
        found.append(Candidate(candidate_name(values), values, overrides))
    _refuse_no_choice(found)
    return tuple(found)


def grid(select: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of the values, the last key's changing fastest."""
    for values in itertools.product(*select.values()):
        yield dict(zip(select, values, strict=True))


def candidate_name(values: Mapping[str, Any]) -> str:
    """The folder of a candidate, such as `learning_rate-0.0003`."""
    parts = [f"{key.rpartition('.')[2]}-{value_text(value)}" for key, value in values.items()]
    return folder_part("-".join(parts))


def candidate_names(config: Config) -> list[str]:
    """The folders of the candidates of a run's own configuration, in the order listed."""
    return [candidate_name(values) for values in grid(config.sweep.select)]


def fraction_of(config: Config) -> float:
    """The share of a fold's training subjects on which its candidates are judged."""
    return config.split.val_fraction or FRACTION


def inner_config(config: Config, candidate: Candidate) -> Config:
    """The configuration of an inner run: of a candidate, on a part of the training subjects.

    Args:
        config: of the run that chooses.
    """
    inner = replace(
        config,
        sweep=replace(config.sweep, select={}),
        split=replace(config.split, inner=fraction_of(config)),
    )
    return replaced(inner, candidate.overrides, file=f"candidate {candidate.name}")


def _check_keys(config: Config) -> None:
    known = flatten(config)
    select, axes = config.sweep.select, config.sweep.axes
    for key, values in select.items():
        group = key.partition(".")[0]
        if group not in GROUPS or key in ("model", *OF_THE_VARIANT):
            raise ConfigError(
                f"sweep.select cannot choose {key} in each fold: it takes keys of "
                f"{', '.join(GROUPS)} that leave the network and its weights as they are; use "
                "sweep.models, sweep.weights or sweep.axes to compare variants"
            )
        if key not in GROUPS and key not in known:
            raise ConfigError(f"sweep.select names {key}, which is neither a group nor a key")
        if not values:
            raise ConfigError(f"sweep.select.{key} lists no values")
        if key == "train.seed" and len(config.sweep.seeds) > 1:
            raise ConfigError(
                "sweep.select chooses train.seed, and sweep.seeds trains with each of several; "
                "leave one of them out"
            )
        if both := [axis for axis in axes if _overlap(axis, key)]:
            raise ConfigError(
                f"sweep.select chooses {key}, and {both[0]} is an axis of the sweep; a setting is "
                "either compared or chosen"
            )


def _overlap(one: str, other: str) -> bool:
    return one == other or f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _dotted(groups: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{group}." for group in groups)


def _refuse_no_choice(found: Sequence[Candidate]) -> None:
    if len(found) < 2:
        raise ConfigError(
            f"sweep.select lists one candidate, {found[0].values}: name at least two, or set the "
            "value itself"
        )
    for position, one in enumerate(found):
        for other in found[:position]:
            if one.name == other.name or one.overrides == other.overrides:
                raise ConfigError(
                    f"sweep.select lists the same candidate twice: {other.values} and {one.values}"
                )
