"""A configuration as dotted keys and their values, the way a command line overrides it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stfmri.study.config import Config
from stfmri.study.errors import ConfigError
from stfmri.study.serialise import from_dict, to_dict


def flatten(config: Config) -> dict[str, Any]:
    """Dotted keys and plain values, as an override would name them."""

    def below(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in values.items():
            if isinstance(value, dict) and prefix + key not in ("sweep.axes", "sweep.select"):
                yield from below(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    return dict(below(to_dict(config), ""))


def choices(config: Config) -> tuple[str, ...]:
    """`key=value` of what `config` chooses other than by default and that results depend on.

    Left out are places, machines, and what differs between the runs of a sweep.
    """
    usual = flatten(Config())
    groups = (
        *("data.contrasts", "data.missing"),
        *("preprocessing.", "split.", "model.", "augment.", "train."),
    )
    aside = (
        "preprocessing.jobs",
        "split.fold",
        "split.sha256",
        "model.name",
        "model.weights",
        "train.threads",
    )
    return tuple(
        f"{key}={value}"
        for key, value in flatten(config).items()
        if key.startswith(groups) and not key.startswith(aside) and value != usual[key]
    )


def replaced(config: Config, values: Mapping[str, Any], *, file: str = "configuration") -> Config:
    """`config` with other values at the given dotted keys, checked as `from_dict` checks.

    Raises:
        ConfigError: for an unknown key or a value of another type or range.
    """
    tree = to_dict(config)
    for key, value in values.items():
        *groups, name = key.split(".")
        inner: Any = tree
        for group in groups:
            inner = inner.get(group)
            if not isinstance(inner, dict):
                raise ConfigError(f"{file}: unknown key {key}")
        inner[name] = value
    return from_dict(Config, tree, file=file)
