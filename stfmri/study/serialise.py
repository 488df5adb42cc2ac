"""Dataclasses to plain values and YAML, and back with every key and type checked."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import types
import typing
from typing import Any, TypeVar

import yaml

from stfmri.study.errors import ConfigError, first_line

T = TypeVar("T")

# The C versions write and read a sweep of a thousand runs ten times faster.
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DEEPEST = 50  # levels of a YAML text; the C loader calls itself for each, until the process dies


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain dicts and lists, as YAML and JSON have them."""
    # Not dataclasses.asdict, which copies every single value: ten times slower.
    return {item.name: _plain(getattr(config, item.name)) for item in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return to_dict(value) if dataclasses.is_dataclass(value) else value


def from_dict(kind: type[T], values: Any, *, where: str = "", file: str = "configuration") -> T:
    """Build the dataclass `kind` from nested plain values, checking every key and type.

    Raises:
        ConfigError: for an unknown key (the known ones are listed), or a value of another type.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: {where or 'the top level'} must be a mapping, found {values!r}")
    known = {item.name for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = _hints(kind)  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            hint = f"; did you mean {prefix}{close[0]}?" if close else ""
            raise ConfigError(
                f"{file}: unknown key {prefix}{key}{hint} (known here: {', '.join(sorted(known))})"
            )
    return kind(
        **{key: _typed(hints[key], value, prefix + key, file) for key, value in values.items()}
    )


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """A dataclass's fields and their types; evaluating the annotations anew is slow."""
    return typing.get_type_hints(kind)


def _typed(hint: Any, value: Any, where: str, file: str) -> Any:
    """`value` as the type `hint` asks, or a ConfigError naming the key."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where=where, file=file)  # type: ignore[arg-type]
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _typed(arguments[0], value, where, file)
    if origin is tuple and isinstance(value, (list, tuple)):
        if arguments[-1] is Ellipsis:
            return tuple(_typed(arguments[0], item, where, file) for item in value)
        if len(value) == len(arguments):
            return tuple(_typed(h, v, where, file) for h, v in zip(arguments, value, strict=True))
        raise ConfigError(f"{file}: {where} takes {len(arguments)} values, found {value!r}")
    if origin is dict and isinstance(value, dict):
        return {str(key): _typed(arguments[1], item, where, file) for key, item in value.items()}
    if hint is Any:
        return value
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if hint is str and type(value) in (str, int, float):
        return str(value)
    if hint in (int, bool, str) and type(value) is hint:
        return value
    wanted = {
        int: "a whole number",
        float: "a finite number",
        bool: "true or false",
        str: "text",
    }.get(hint, "a list" if origin is tuple else "a mapping")
    written = f"; write '{where}=[{value}]'" if wanted == "a list" else ""
    raise ConfigError(f"{file}: {where} must be {wanted}, found {value!r}{written}")


def dump_yaml(values: Any) -> str:
    """Plain values as YAML, in the order they have."""
    return yaml.dump(values, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)


def load_yaml(text: str, file: str) -> Any:
    """The plain values of a YAML text.

    Raises:
        ConfigError: naming `file`, where the text is no YAML, or nested deeper than `DEEPEST`.
    """
    try:
        _refuse_deep(text)
        return yaml.load(text, Loader=_LOADER)
    # ValueError: a date that is none; RecursionError: brackets in brackets without end.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is not valid YAML: {first_line(error)}") from error


def _refuse_deep(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} levels deep")
