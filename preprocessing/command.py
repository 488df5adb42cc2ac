"""The command that builds a cache, with no more arguments than it takes."""

from __future__ import annotations

import shlex
from pathlib import Path

from stfmri.study.compose import compose, groups
from stfmri.study.config import Config
from stfmri.study.overrides import flatten

DEFAULT_GRID = "mm2"  # of conf/config.yaml; need not be typed

# What each kind of cohort cannot do without.
REQUIRED = {
    "brats_ixi": (("data.brats", "DIR"), ("data.ixi", "DIR")),
    "table": (("data.table", "FILE"),),
    "phantom": (("data.folder", "DIR"),),
}


def preprocessing_command(config: Config) -> str:
    """The command that builds the cache of `config`, with no more arguments than it takes."""
    root = Path(config.root)
    wanted = flatten(config)
    words = ["python", "-m", "preprocessing", *_shortest("data", wanted, root)]
    grid = _shortest("preprocessing", wanted, root)
    words += [word for word in grid if word != f"preprocessing={DEFAULT_GRID}"]
    words += [f"{key}={what}" for key, what in REQUIRED[config.data.kind] if not wanted[key]]
    if root != Path.cwd():
        words += ["--root", str(root)]
    return shlex.join(words)


def _shortest(group: str, wanted: dict[str, object], root: Path) -> list[str]:
    """The choice of `group`, and then the keys, that give the wanted values in fewest words."""
    options = []
    for choice in groups()[group]:
        base = flatten(compose([f"{group}={choice}"], root=root))
        differing = {
            key: value
            for key, value in wanted.items()
            if key.startswith(f"{group}.") and value != base[key]
        }
        if "data.kind" not in differing:
            words = [f"{key}={_typed(value)}" for key, value in differing.items()]
            options.append([f"{group}={choice}", *words])
    return min(options, key=len)


def _typed(value: object) -> str:
    """A value as an override has it."""
    if isinstance(value, list):
        return f"[{','.join(str(item) for item in value)}]"
    return "null" if value is None else str(value)
