"""What is known of the networks without torch: each one's `about` in its file of conf/model.

The configuration checks itself against it, tables and the methods text take their words from it.
The network itself is a record of `stfmri.learning.models`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from stfmri.study.errors import ConfigError
from stfmri.study.files import read_text
from stfmri.study.serialise import from_dict, load_yaml

FILES = Path(__file__).resolve().parents[2] / "conf" / "model"


@dataclass(frozen=True)
class About:
    """A network in words, and which choices of `model` it leaves."""

    label: str  # in tables and figures
    phrase: str  # what it is, for the methods text
    citation: str
    weights: tuple[str, ...] = ()  # ready-made ones, of stfmri/study/ready_weights.py
    stems: tuple[str, ...] = ("basic",)  # values of model.stem
    # Whether gradients keep their direction in bf16; if not, train.precision=auto is fp32 on a CPU.
    bf16: bool = True
    library: str = ""  # an extra of pyproject.toml that builds it; empty: needs none


@cache
def networks() -> Mapping[str, About]:
    """Every network by its name, as `model.name` takes it.

    A file of conf/model without an `about` is a preset of another file's network.

    Raises:
        ConfigError: where a file is damaged.
    """
    found = {}
    for path in sorted(FILES.glob("*.yaml")):
        try:
            values = load_yaml(read_text(path), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from error
        if isinstance(values, dict) and "about" in values:
            about = from_dict(About, values["about"], where="about", file=str(path))
            found[str(values.get("name", path.stem))] = about
    return found


def lacking(name: str) -> str:
    """The command that installs what a network is built with; empty where that is there."""
    known = networks().get(name)
    if known is None or not known.library or find_spec(known.library):
        return ""
    return f"pip install 'stfmri[{known.library}]'"


def label_of(name: str) -> str:
    """What tables call a network; its name, where conf/model no longer has it."""
    known = networks().get(name)
    return known.label if known else name
