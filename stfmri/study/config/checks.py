"""Checks that groups of keys share."""

from __future__ import annotations

from collections.abc import Iterable

from stfmri.study.errors import ConfigError
from stfmri.study.words import did_you_mean


def one_of(key: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        ConfigError: listing them, and the one that was probably meant.
    """
    choices = tuple(choices)
    if value not in choices:
        raise ConfigError(
            f"{key} must be one of {', '.join(choices)}; found {value!r}"
            f"{did_you_mean(value, choices)}"
        )


def at_least(key: str, value: float, least: float) -> None:
    """Refuse a number that is too small.

    Raises:
        ConfigError: naming its key.
    """
    if value < least:
        raise ConfigError(f"{key} must be at least {least}, found {value}")
