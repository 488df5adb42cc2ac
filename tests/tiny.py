"""A tiny cohort, written straight as shards: no NIfTI, no brain extraction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig, PreprocessingConfig
from stfmri.study.config.split import SplitConfig
from stfmri.study.config.training import TrainConfig
from stfmri.study.serialise import dump_yaml
from stfmri.study.shards import (
    IndexRow,
    missing_column,
    voxel_sha256,
    write_index,
    write_shard,
)

CLASSES = ("LGG", "HGG", "Healthy")
SOURCES = {"LGG": "BraTS-TMC", "HGG": "BraTS-TMC", "Healthy": "IXI-HH"}


def tiny_config(root: Path, **changes: object) -> Config:
    """A configuration whose runs take about a second: 12³ voxels, 2 epochs, fp32, one thread."""
    base = {
        "root": str(root),
        "data": DataConfig(name="tiny", classes=CLASSES),
        "preprocessing": PreprocessingConfig(spacing_mm=10.0, field_mm=(120.0, 120.0, 120.0)),
        "split": SplitConfig(n=2),
        "train": TrainConfig(epochs=2, precision="fp32", threads=1, learning_rate=1e-3),
    }
    return Config(**{**base, **changes})  # type: ignore[arg-type]


def tiny_cache(
    config: Config,
    per_class: int = 4,
    seed: int = 0,
    prefix: str = "",
    chain: str = "",
    lacking: Sequence[tuple[str, str]] = (),
) -> list[IndexRow]:
    """Fill `config.cache` with noise whose mean tells the class, and write its index.

    It has a channel for each of `data.contrasts`.

    Args:
        prefix: of every subject's name.
        chain: the preprocessing that the shard says it was made with, as YAML; by default what
            `config` asks for.
        lacking: subjects, each with a contrast whose channel is 0 throughout.
    """
    generator = np.random.default_rng(seed)
    channels = config.data.channels
    shape = (len(channels), *config.preprocessing.shape)
    rows, volumes = [], []
    for number, label in enumerate(CLASSES):
        for repeat in range(per_class):
            level = 0.2 + 0.3 * number
            name = f"{prefix}{label}-{repeat:02d}"
            volume = np.clip(level + 0.1 * generator.standard_normal(shape), 0, 1)
            missing = [contrast for contrast in channels if (name, contrast) in lacking]
            for contrast in missing:
                volume[channels.index(contrast)] = 0
            volumes.append(volume.astype(np.float16))
            sha256 = voxel_sha256(volumes[-1])
            row = len(rows)
            columns = {"label": label}
            if config.data.missing == "zeros":
                columns |= missing_column(missing)
            rows.append(
                IndexRow(name, name, SOURCES[label], "shard-0000.h5", row, name, sha256, columns)
            )
    affines = np.repeat(np.diag([10.0, 10, 10, 1])[None], len(rows), axis=0)
    ids = [row.subject_id for row in rows]
    config.cache.mkdir(parents=True, exist_ok=True)
    chain = chain or dump_yaml({**config.chain, "extraction": "none"})
    file = config.cache / "shard-0000.h5"
    write_shard(file, np.stack(volumes), affines, ids, ids, channels, chain)
    write_index(config.cache, rows)
    return rows


def damage_volume(root: Path, row: int, content: bytes) -> Path:
    """Overwrite voxels in the middle of a stored volume, behind HDF5's back; returns the shard."""
    [shard] = root.rglob("shard-0000.h5")
    with h5py.File(shard, "r") as file:
        start, size = file["volumes"].id.get_offset(), file["volumes"][0].nbytes
    with shard.open("r+b") as file:
        file.seek(start + row * size + size // 2)
        file.write(content)
    return shard
