"""From what a user typed to a checked configuration. The only file that imports Hydra.

Overrides are `key=value` or `group=choice`, as Hydra has them, with two differences: every key,
group and choice is checked here first, so that a slip gets one clear line; and the value of a key
that is a path is taken as typed, so blanks, umlauts, parentheses, commas and `=` need no quoting
beyond the shell's own.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from stfmri.study import layers
from stfmri.study.config import Config
from stfmri.study.errors import ConfigError, first_line
from stfmri.study.files import absolute
from stfmri.study.serialise import from_dict
from stfmri.study.words import did_you_mean

# What Hydra lets through of a file in conf/ that is no YAML, no mapping, no UTF-8, or endless.
UNREADABLE = (
    HydraException,
    OmegaConfBaseException,
    yaml.YAMLError,
    UnicodeError,
    OSError,
    RecursionError,
)
MOST_REASON = 300  # letters of an error's text
CONF = Path(__file__).resolve().parents[2] / "conf"
PATH_KEYS = (
    "data.brats",
    "data.ixi",
    "data.table",
    "data.folder",
    "data.exclude",
    "model.weights_file",
)


@dataclass(frozen=True)
class Asked:
    """One override of the command line."""

    key: str
    value: str
    is_group: bool

    def touches(self, key: str) -> bool:
        """Whether it may change the dotted configuration key `key`."""
        return key == self.key or key.startswith(f"{self.key}.")


def compose(
    overrides: Sequence[str],
    *,
    sweep: str | None = None,
    root: Path | None = None,
    choices: Mapping[str, str] | None = None,
) -> Config:
    """The configuration that `overrides` ask for.

    Args:
        overrides: `key=value` or `group=choice`; of the same key the last one counts.
        sweep: a choice of conf/sweep, whose values lie under the overrides.
        root: the folder of data/, runs/ and results/; the current folder by default. Paths on the
            command line start at the current folder, those in conf/ at `root`.
        choices: choices of further groups, {group: choice}, which mean the same as `group=choice`
            after the overrides; asking for others with the same overrides is fast.

    Raises:
        ConfigError: for an unknown key, group, choice or sweep, naming the nearest known one, and
            for a value of the wrong type or range.
    """
    if sweep is not None:
        _known_choice("sweep", sweep)
    last = {item.key: item for item in parse_overrides(overrides)}
    paths = {key: _typed_path(item.value) for key, item in last.items() if key in PATH_KEYS}
    asked = [item for key, item in last.items() if key not in PATH_KEYS]
    more = parse_overrides(f"{group}={choice}" for group, choice in (choices or {}).items())
    composed = _composed(asked, sweep)
    chosen = {item.key: item.value for item in more}
    try:
        values = layers.laid_over(composed, CONF, sweep, chosen, [item.key for item in asked])
    except layers.LeftToHydraError:
        values = _composed([*asked, *more], sweep).fresh()
    return _checked(values, paths, absolute(root or Path.cwd()).resolve())


def compose_choice(group: str, choice: str, *, root: Path) -> Config:
    """The configuration with one group's choice and everything else by default.

    Raises:
        ConfigError: as `compose` does.
    """
    _known_choice(group, choice)
    try:
        values = {group: layers.group_values(CONF, group, choice)}
    except layers.LeftToHydraError:
        return compose([f"{group}={choice}"], root=root)
    return _checked(values, {}, absolute(root).resolve())


def _checked(values: dict[str, Any], paths: Mapping[str, str | None], start: Path) -> Config:
    """The configuration of composed values; `paths` are those typed, others start at `start`."""
    values["root"] = str(start)
    # What is known of the network, which stfmri.study.networks reads: not a setting.
    if isinstance(values.get("model"), dict):
        values["model"].pop("about", None)
    for key in PATH_KEYS:
        group, name = key.split(".")
        if not isinstance(values.get(group), dict):
            continue  # from_dict says so below
        listed = values[group].get(name)
        if key in paths:
            values[group][name] = paths[key]
        elif listed is not None:
            values[group][name] = str(absolute(str(listed), start))
    return from_dict(Config, values, file="conf and command line")


def parse_overrides(overrides: Iterable[str]) -> list[Asked]:
    """Split and check what was typed.

    Raises:
        ConfigError: for what is no `key=value`, and for unknown keys, groups and choices.
    """
    asked = []
    for text in overrides:
        key, equals, value = text.partition("=")
        key = key.strip().lstrip("+")
        if not equals or not key:
            raise ConfigError(f"expected key=value or group=choice, found {text!r}")
        if key in ("sweep", "root"):
            raise ConfigError(f"choose it with --{key} {value}, not with {text!r}")
        is_group = key in groups()
        if is_group:
            _known_choice(key, value)
        else:
            _known_key(key)
        asked.append(Asked(key, value, is_group))
    return asked


@cache
def groups() -> dict[str, tuple[str, ...]]:
    """The groups of conf/ and the choices of each."""
    if not CONF.is_dir():
        raise ConfigError(
            f"no configuration folder at {CONF}; install the package from a checkout with "
            "pip install -e ."
        )
    return {
        folder.name: tuple(sorted(file.stem for file in folder.glob("*.yaml")))
        for folder in sorted(CONF.iterdir())
        if folder.is_dir()
    }


def _known_choice(group: str, choice: str) -> None:
    choices = groups()[group]
    if choice not in choices:
        what = f"--sweep {choice}" if group == "sweep" else f"{group}={choice}"
        raise ConfigError(
            f"{what} is not known{did_you_mean(choice, choices)} (conf/{group} has: "
            f"{', '.join(choices)})"
        )


def _known_key(key: str) -> None:
    """Check a dotted key against the dataclasses of stfmri.study.config."""
    kind: Any = Config
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if typing.get_origin(kind) is dict:
            return
        if not dataclasses.is_dataclass(kind):
            raise ConfigError(f"{'.'.join(parts[:depth])} is a single value, found {key}")
        hints = typing.get_type_hints(kind)
        if part not in hints:
            prefix = "".join(f"{name}." for name in parts[:depth])
            raise ConfigError(
                f"unknown key {key}{did_you_mean(key, (*groups(), *_all_keys()))} (known here: "
                f"{', '.join(prefix + name for name in hints)})"
            )
        kind = hints[part]
    if dataclasses.is_dataclass(kind):
        known = groups().get(key)
        choices = f"one of {', '.join(known)}" if known else "no value of its own"
        raise ConfigError(f"{key} takes {choices}; its keys are set as {key}.<name>=…")


def _takes_a_list(key: str) -> bool:
    """Whether a known key's value is a list."""
    kind: Any = Config
    for part in key.split("."):
        kind = typing.get_type_hints(kind)[part] if dataclasses.is_dataclass(kind) else None
    return typing.get_origin(kind) in (tuple, list)


@cache
def _all_keys() -> tuple[str, ...]:
    """Every dotted key there is."""

    def below(kind: Any, prefix: str) -> Iterable[str]:
        for name, hint in typing.get_type_hints(kind).items():
            if dataclasses.is_dataclass(hint):
                yield from below(hint, f"{prefix}{name}.")
            else:
                yield prefix + name

    return tuple(below(Config, ""))


def _typed_path(value: str) -> str | None:
    """A path as typed on the command line, `~` expanded and made absolute."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    if value in ("", "null"):
        return None
    return str(absolute(value))


def _for_hydra(item: Asked) -> str:
    """The override in Hydra's grammar; `++` because conf/ need not list every key."""
    if item.is_group:
        return f"{item.key}={item.value}"
    text = f"++{item.key}={item.value}"
    try:
        parsed: Override = OverridesParser.create().parse_override(text)
    except (HydraException, RecursionError) as error:
        raise ConfigError(
            f"cannot read the value in {item.key}={item.value[:MOST_REASON]}: "
            f"{first_line(error).strip()}; a list is [a, b], and text with symbols needs "
            "quotes of its own inside the shell's"
        ) from error
    if parsed.is_sweep_override() and _takes_a_list(item.key):
        raise ConfigError(
            f"{item.key} takes a list, found {item.value}: write '{item.key}=[{item.value}]', with "
            "the quotes"
        )
    if parsed.is_sweep_override():
        raise ConfigError(
            f"{item.key}={item.value} holds several values; make them an axis of the sweep: "
            f"'sweep.axes={{{item.key}: [{item.value}]}}'"
        )
    return text


def _composed(asked: Sequence[Asked], sweep: str | None) -> layers.Composition:
    """Hydra's composition; of the same key the last one counts."""
    given = [_for_hydra(item) for item in {item.key: item for item in asked}.values()]
    return _hydras(CONF, (*given, *([] if sweep is None else [f"sweep={sweep}"])))


@cache
def _hydras(conf: Path, overrides: tuple[str, ...]) -> layers.Composition:
    """Hydra's composition, kept: it takes a while, and a sweep asks for the same one again."""
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(conf), job_name="stfmri"):
            config = hydra_compose("config", list(overrides), return_hydra_config=True)
        chosen = dict(config.hydra.runtime.choices)
        with open_dict(config):
            del config["hydra"]
        values: Any = OmegaConf.to_container(config, resolve=True)
        return layers.Composition(values, chosen, layers.refers(OmegaConf.to_container(config)))
    except MissingConfigException as error:  # named in a file; typed choices were looked up before
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        known = ", ".join(error.options or ())
        raise ConfigError(
            f"{' '.join(overrides)}: a file of {conf} asks for {group}={name}, which is not there"
            f"{did_you_mean(name, error.options or ())}; there are {known}"
        ) from error
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:MOST_REASON]
        raise ConfigError(
            f"cannot compose {' '.join(overrides)} from the files in {conf}: {reason}"
        ) from error
