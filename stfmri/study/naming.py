"""What variants, their volumes and the files of a run are called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from stfmri.study.files import safe_name

CONFIG_FILE, MODEL_FILE = "config.yaml", "model.pt"  # in a run's folder
CHECKPOINTS = "checkpoint"  # there: a folder for each published epoch
CONTRASTS = "data.contrasts"
MOST_LETTERS = 50  # of what volumes are called in a folder's name


def variant_name(model: str, weights: str, values: Sequence[Any]) -> str:
    """`<model>-<weights>`, then the axes' values with what no path may hold made `_`."""
    parts = [path_part(value_text(value)) for value in (model, weights, *values)]
    return safe_name("-".join(parts), "the variant's name")


def volumes_names(chains: Sequence[Mapping[str, Any]]) -> list[str]:
    """What sets each chain of preprocessing apart from the others: `t1ce+flair`, `spacing_mm 4`.

    Of a single chain, nothing.
    """
    varying = [key for key in chains[0] if any(one[key] != chains[0][key] for one in chains)]
    return [", ".join(_setting(key, chain[key]) for key in varying) for chain in chains]


def folder_part(text: str) -> str:
    """As `path_part`; of a long text its beginning and a hash of all of it."""
    part = path_part(text)
    if len(part) <= MOST_LETTERS:
        return part
    return f"{part[:MOST_LETTERS]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def path_part(text: str) -> str:
    """The text with what no path may hold made `_`."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", text)


def _setting(key: str, value: Any) -> str:
    """A setting of preprocessing in few words; contrasts need no key beside them."""
    return (
        value_text(value) if key == CONTRASTS else f"{key.rpartition('.')[2]} {value_text(value)}"
    )


def value_text(value: Any) -> str:
    """The value of a key, short; of a list of names all, such as `t1ce+flair`."""
    if isinstance(value, (list, tuple)):
        are_names = all(isinstance(item, str) for item in value)
        return ("+" if are_names else "_").join(map(value_text, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
