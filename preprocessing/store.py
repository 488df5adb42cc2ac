"""The cache's shards as preprocessing sees them: what is there, and how more is added."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from preprocessing import qc
from preprocessing.chain import Chain
from preprocessing.worker import Outcome
from stfmri.study.shards import CacheError, open_shard, write_shard

SHARD_BYTES = 256 * 2**20  # a shard is held in memory until it is full


def stored_volumes(cache: Path) -> dict[str, tuple[str, int]]:
    """Key → shard's file name and row, of every volume in the cache, indexed or not.

    A damaged shard counts as absent, and so does a volume without its quality record: both are
    built again.
    """
    stored = {}
    for path in sorted(cache.glob("shard-*.h5")):
        try:
            keys = open_shard(path).keys
        except CacheError:
            continue
        for row, key in enumerate(keys):
            if qc.read_measures(cache, key) is not None:
                stored[key] = (path.name, row)
    return stored


class ShardWriter:
    """Collects volumes and writes a shard whenever enough have come.

    Shards are named `shard-<prefix><number>.h5`; no other writer may use the prefix meanwhile.
    """

    def __init__(self, cache: Path, prefix: str, chain: Chain) -> None:
        preprocessing = chain.preprocessing
        shape_CDHW = (len(chain.contrasts), *preprocessing.shape)
        volume_bytes = 2 * int(np.prod(shape_CDHW))
        size = min(preprocessing.shard_volumes, max(1, SHARD_BYTES // volume_bytes))
        self._volumes = np.empty((size, *shape_CDHW), np.float16)
        self._held: list[Outcome] = []
        self._cache = cache
        self._stem = f"shard-{prefix}"
        self._chain = chain

    def add(self, outcome: Outcome) -> None:
        """Take a built volume in."""
        self._volumes[len(self._held)] = outcome.volume
        self._held.append(dataclasses.replace(outcome, volume=None))
        if len(self._held) == len(self._volumes):
            self.flush()

    def flush(self) -> None:
        """Write what has come since the last shard."""
        if not self._held:
            return
        write_shard(
            self._free_path(),
            self._volumes[: len(self._held)],
            np.array([outcome.affine for outcome in self._held]),
            [outcome.scan.subject_id for outcome in self._held],
            [outcome.key for outcome in self._held],
            self._chain.contrasts,
            self._chain.as_text(),
        )
        self._held = []

    def _free_path(self) -> Path:
        number = 0
        while (path := self._cache / f"{self._stem}{number:04d}.h5").exists():
            number += 1
        return path
