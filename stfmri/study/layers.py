"""The files of conf/ read one by one, as the layers that a composition puts on each other.

Hydra composes a whole configuration, each time from the start, in 0.2 s; a sweep of ten networks
would wait for eleven of them, though networks differ in one group. Here are the values of a single
group, from files that do nothing but set them. Whatever else a file can do is left to Hydra.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

SELF = "_self_"
OVERRIDE = "override "  # first word of an item of a defaults list that chooses in another group
PACKAGE = "@package"
GLOBAL = f"# {PACKAGE} _global_"  # first line of a sweep's file: its keys start at the top level
INTERPOLATION = "${"


class LeftToHydraError(Exception):
    """A file whose meaning only Hydra can tell, or that cannot be read."""


@dataclass(frozen=True)
class Composition:
    """What Hydra composed.

    Attributes:
        values: of every group.
        chosen: the choice of each group.
        has_references: whether values are, or hold, those of other keys.
    """

    values: dict[str, Any]
    chosen: Mapping[str, str]
    has_references: bool

    def fresh(self) -> dict[str, Any]:
        """A copy of the values."""
        return copy.deepcopy(self.values)


@dataclass(frozen=True)
class _Sheet:
    """A file of conf/.

    Attributes:
        order: the files of the same folder that it starts from, and `_self_`, lowest first.
        chooses: whether it chooses in other groups.
        values: its own.
    """

    order: tuple[str, ...]
    chooses: bool
    values: DictConfig


def laid_over(
    composed: Composition,
    conf: Path,
    sweep: str | None,
    choices: Mapping[str, str],
    typed: Sequence[str],
) -> dict[str, Any]:
    """The values of `composed` with other choices of some groups.

    Args:
        conf: the folder that it was composed from.
        sweep: the sweep that it was composed with.
        choices: {group: choice}.
        typed: dotted keys of the command line, or groups.

    Raises:
        LeftToHydraError: where the choices do more than set the values of their groups.
    """
    values = composed.fresh()
    if choices and composed.has_references:
        raise LeftToHydraError("values refer to each other")
    for group, choice in choices.items():
        _require_usual_order(conf, group)
        group_values(conf, group, composed.chosen[group])  # must not have set anything else
        above = [] if sweep is None else _sweep_layers(conf, sweep, group)
        values[group] = _merged([*_group_layers(conf, group, choice), *above])
        for key in typed:
            if key.startswith(f"{group}."):
                _copy_value(composed.values, values, key)
    return values


def group_values(conf: Path, group: str, choice: str) -> dict[str, Any]:
    """The values of a choice.

    Raises:
        LeftToHydraError: where its file does more than set values of its group.
    """
    return _merged(_group_layers(conf, group, choice))


def refers(values: object) -> bool:
    """Whether composed values, not yet resolved, refer to each other."""
    return INTERPOLATION in repr(values)


def _group_layers(conf: Path, group: str, choice: str) -> list[DictConfig]:
    """The values of a choice's file, above those of the files that it starts from."""
    sheets = list(_chain(conf / group, choice))
    if any(sheet.chooses for sheet in sheets):
        raise LeftToHydraError(f"{group}={choice} chooses in other groups")
    return [sheet.values for sheet in sheets]


def _sweep_layers(conf: Path, sweep: str, group: str) -> list[DictConfig]:
    """What a sweep sets in a group."""
    sheets = _chain(conf / "sweep", sweep)
    return [_mapping(sheet.values[group]) for sheet in sheets if group in sheet.values]


def _merged(layers: Sequence[DictConfig]) -> dict[str, Any]:
    """The values of layers, of which the last one is on top."""
    return OmegaConf.to_container(OmegaConf.merge(*layers))  # type: ignore[return-value]


def _copy_value(source: dict[str, Any], target: dict[str, Any], key: str) -> None:
    """Copy the value of a dotted key."""
    *groups, name = key.split(".")
    for group in groups:
        source, target = source[group], target.setdefault(group, {})
    if isinstance(source[name], dict):
        raise LeftToHydraError(f"{key} adds to a mapping")
    target[name] = copy.deepcopy(source[name])


@cache
def _require_usual_order(conf: Path, group: str) -> None:
    """Make sure that a choice of the group lies at the bottom, and a sweep on top of everything."""
    config = _load(conf / "config.yaml")
    defaults = config.get("defaults", ())
    keys = [next(iter(item)) for item in defaults if isinstance(item, DictConfig) and item]
    if group in config or group not in keys or keys[-1] != "sweep" or SELF not in defaults:
        raise LeftToHydraError(f"{conf / 'config.yaml'} sets {group}, or has another order")


def _chain(folder: Path, name: str) -> Iterator[_Sheet]:
    """The sheets that `name` consists of, lowest first."""
    try:
        sheet = _sheet(folder / f"{name}.yaml")
        for item in sheet.order:
            if item == SELF:
                yield sheet
            else:
                yield from _chain(folder, item)
    except RecursionError as error:
        raise LeftToHydraError(f"{folder / name} starts from itself") from error


@cache
def _sheet(path: Path) -> _Sheet:
    values = _load(path)
    listed: Any = OmegaConf.to_container(values.pop("defaults")) if "defaults" in values else []
    if not isinstance(listed, list):
        raise LeftToHydraError(f"the defaults of {path} are no list")
    order = [item for item in listed if _is_name(item)]
    chooses = any(_is_override(item) for item in listed)
    plain = all(_is_name(item) or _is_override(item) for item in listed)
    if not plain or len(set(order)) < len(order) or (order and SELF not in order):
        raise LeftToHydraError(f"the defaults list of {path}")
    return _Sheet(tuple(order) or (SELF,), chooses, values)


def _load(path: Path) -> DictConfig:
    """A file's values, a number as Hydra reads it, without anything that only Hydra can follow."""
    try:
        text = path.read_text(encoding="utf-8")
        values = _mapping(OmegaConf.load(path))
    except (OmegaConfBaseException, yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        raise LeftToHydraError(f"cannot read {path}") from error
    lines = text.splitlines()
    packages = [line for line in lines if PACKAGE in line]
    usual = [GLOBAL] if path.parent.name == "sweep" else []
    if packages != usual or lines[: len(usual)] != usual or INTERPOLATION in text:
        raise LeftToHydraError(f"{path} has a package of its own, or refers to other values")
    return values


def _mapping(value: Any) -> DictConfig:
    if not isinstance(value, DictConfig):
        raise LeftToHydraError("a value where a mapping belongs")
    return value


def _is_name(item: object) -> bool:
    """Whether it names a file of the same folder, and nothing more than that."""
    return isinstance(item, str) and not set(item) & set("/@: .")


def _is_override(item: object) -> bool:
    """Whether it chooses in another group."""
    return isinstance(item, dict) and all(str(key).startswith(OVERRIDE) for key in item)
