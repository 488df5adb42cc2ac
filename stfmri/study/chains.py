"""Whether caches hold the voxels that a run asks for: shards say how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stfmri.study.errors import ConfigError
from stfmri.study.serialise import load_yaml
from stfmri.study.shards import CacheError, IndexRow, Shard, open_shard
from stfmri.study.words import listed

CONTRASTS = "data.contrasts"  # the key of a chain that the channels' names stand for


def require(rows: Sequence[IndexRow], wanted: Mapping[str, Any], channels: Sequence[str]) -> None:
    """Refuse shards with other channels, or made by another chain, than a run asks for.

    Args:
        rows: of one cache or of several, each with its cache in `folder`; the first one's comes
            first.
        wanted: every setting that a voxel depends on, as `Config.chain` has them.
        channels: names of the channels, in order.

    Raises:
        CacheError: naming the cache, the key, what was found and what is asked for.
    """
    paths = dict.fromkeys((row.folder or Path()) / row.shard for row in rows)
    # Of each cache, what its shards say beyond the settings, such as the version of an extractor.
    # Shards of one cache may differ in it: volumes that depend on it were built again.
    beyond: dict[Path, set[str]] = {}
    for path in paths:
        shard = open_shard(path)
        _require_channels(shard, channels)
        chain = recorded(shard.chain, path)
        _require_settings(path, chain, wanted)
        rest = {f"{key}={value}" for key, value in chain.items() if key not in wanted}
        beyond.setdefault(path.parent, set()).add(", ".join(sorted(rest)) or "nothing recorded")
    first, *others = beyond.items()
    for cache, found in others:
        if not found & first[1]:
            raise CacheError(
                f"{cache} was made with {listed(sorted(found))}, {first[0]} with "
                f"{listed(sorted(first[1]))}: a network would see other voxels than it learned "
                "from; preprocess both alike"
            )


def recorded(text: str, where: Path) -> dict[str, Any]:
    """The chain that a shard says it was made by; empty where it says nothing."""
    try:
        found = load_yaml(text, f"the chain of {where}")
    except ConfigError as error:
        raise CacheError(f"{error}; build the cache again with python -m preprocessing") from error
    return found if isinstance(found, dict) else {}


def _require_channels(shard: Shard, channels: Sequence[str]) -> None:
    if shard.contrasts != tuple(channels):
        raise CacheError(
            f"the cache {shard.path.parent} holds {', '.join(shard.contrasts)}; the run asks for "
            f"{', '.join(channels)} ({CONTRASTS})"
        )


def _require_settings(path: Path, chain: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differing = [
        f"{key}={chain.get(key, 'not recorded')} (asked for: {value})"
        for key, value in wanted.items()
        if key != CONTRASTS and chain.get(key, ...) != value
    ]
    if differing:
        raise CacheError(
            f"the cache {path.parent} holds other voxels than the run asks for: made with "
            f"{listed(differing, 3)}. Build those with python -m preprocessing, or ask for these"
        )
