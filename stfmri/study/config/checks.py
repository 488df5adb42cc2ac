"""Checks that groups of keys share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from stfmri.study.errors import ConfigError


def one_of(key: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        ConfigError: listing them, and the one that was probably meant.
    """
    choices = tuple(choices)
    if value not in choices:
        close = difflib.get_close_matches(value, choices, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigError(f"{key} must be one of {', '.join(choices)}; found {value!r}{hint}")


def at_least(key: str, value: float, least: float) -> None:
    """Refuse a number that is too small.

    Raises:
        ConfigError: naming its key.
    """
    if value < least:
        raise ConfigError(f"{key} must be at least {least}, found {value}")
