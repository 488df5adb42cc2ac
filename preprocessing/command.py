"""The command that builds a cache, with no more arguments than it takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from preprocessing.cohorts import LAYOUTS, layout_of
from stfmri.study.caches import configurations
from stfmri.study.compose import compose_choice, groups
from stfmri.study.config import Config
from stfmri.study.overrides import flatten

# Words that Hydra reads as they are: they begin with a letter and are no number, such as 1e5.
PLAIN = re.compile(r"(?!(?:true|false|null|inf|nan)$)[A-Za-z][\w.+-]*", re.IGNORECASE)
DEFAULT_GRID = "mm2"  # of conf/config.yaml; need not be typed


def preprocessing_command(config: Config, sweep: str = "") -> str:
    """The command that builds the cache of `config`, with no more arguments than it takes.

    Args:
        sweep: the choice of conf/sweep that it comes from; named alone where it says everything.
    """
    root = Path(config.root)
    words = ["python", "-m", "preprocessing"]
    words += ["--sweep", sweep] if _says_it_all(sweep, config) else _overrides(config)
    if root != Path.cwd():
        words += ["--root", str(root)]
    return shlex.join(words)


def _says_it_all(sweep: str, config: Config) -> bool:
    """Whether a choice of conf/sweep, without overrides, asks for the volumes of `config`."""
    is_named = layout_of(config.data).is_named_in(config.data)
    if sweep not in groups()["sweep"] or not is_named:
        return False
    return any(
        replace(one.data, external=config.data.external) == config.data
        and one.preprocessing == config.preprocessing
        for one in configurations((), sweep, Path(config.root))
    )


def _overrides(config: Config) -> list[str]:
    """Choices and keys, in fewest words."""
    root, wanted = Path(config.root), flatten(config)
    keys = layout_of(config.data).keys
    # The choices of the other layouts cannot be it.
    others = LAYOUTS.keys() - {config.data.kind}
    cohorts = [choice for choice in groups()["data"] if choice not in others]
    words = _shortest("data", cohorts, wanted, root)
    # The usual one first, which is most often it.
    grids = sorted(groups()["preprocessing"], key=lambda choice: choice != DEFAULT_GRID)
    grid = _shortest("preprocessing", grids, wanted, root)
    words += [word for word in grid if word != f"preprocessing={DEFAULT_GRID}"]
    return words + [
        f"data.{key.name}={key.value}" for key in keys if not wanted[f"data.{key.name}"]
    ]


def _shortest(
    group: str, choices: Iterable[str], wanted: dict[str, object], root: Path
) -> list[str]:
    """The choice of `group`, and then the keys, that give the wanted values in fewest words."""
    options = []
    for choice in choices:
        base = flatten(compose_choice(group, choice, root=root))
        differing = {
            key: value
            for key, value in wanted.items()
            if key.startswith(f"{group}.") and value != base[key]
        }
        if not differing:
            return [f"{group}={choice}"]  # nothing is shorter
        if "data.kind" not in differing:
            words = [f"{key}={_typed(value)}" for key, value in differing.items()]
            options.append([f"{group}={choice}", *words])
    return min(options, key=len)


def _typed(value: object) -> str:
    """A value as an override has it."""
    if isinstance(value, list):
        return f"[{','.join(_item(item) for item in value)}]"
    return "null" if value is None else str(value)


def _item(value: object) -> str:
    """An item of a list; a text that could be read as anything else in quotes."""
    if isinstance(value, str) and not PLAIN.fullmatch(value):
        escaped = value.replace("'", "\\'")
        return f"'{escaped}'"
    return str(value)
