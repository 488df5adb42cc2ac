"""A cohort of seeded random volumes, written straight as a cache: no NIfTI, no brain extraction.

Its sizes are the paper's: 73 LGG, 259 HGG, 259 healthy, 120 × 120 × 78 voxels each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stfmri.study import splits
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig, PreprocessingConfig
from stfmri.study.config.split import SplitConfig
from stfmri.study.serialise import dump_yaml
from stfmri.study.shards import IndexRow, voxel_sha256, write_index, write_shard

CLASSES = ("LGG", "HGG", "Healthy")
SOURCES = {"LGG": "BraTS-TMC", "HGG": "BraTS-TMC", "Healthy": "IXI-HH"}
PAPER_SUBJECTS = 591
PAPER_TRAINING = 413  # of them in the training part: 70 % of each class
TOY = PreprocessingConfig(spacing_mm=12, field_mm=(240, 240, 144))  # 20 × 20 × 12 voxels
SHARD_VOLUMES = 64


def config_for(root: Path, *, toy: bool = False, name: str = "random") -> Config:
    """A configuration of the paper's grid, or of a grid of toys, under `root`."""
    return Config(
        root=str(root),
        data=DataConfig(name=name, classes=CLASSES),
        preprocessing=TOY if toy else PreprocessingConfig(),
        split=SplitConfig(n=1),
    )


def volume(number: int, shape_DHW: Sequence[int], level: float = 0.5) -> NDArray[np.float16]:
    """A noisy ellipsoid in an empty field, some third of it, as a brain fills it.

    Returns:
        float16 (1, D, H, W), in [0, 1], 0 outside the ellipsoid.
    """
    generator = np.random.default_rng(number)
    values = generator.random(shape_DHW, dtype=np.float32)
    values *= 0.6
    values += 0.4 * level
    axes = np.ogrid[tuple(slice(-1, 1, complex(0, count)) for count in shape_DHW)]
    radii = (0.9, 0.73, 0.6)  # of the field, superior, anterior, right
    distance = sum((axis / radius) ** 2 for axis, radius in zip(axes, radii, strict=True))
    values[distance > 1] = 0
    return values.astype(np.float16)[None]


def class_sizes(subjects: int) -> dict[str, int]:
    """Subjects of each class, in the paper's proportion 73 : 259 : 259, at least two each."""
    low = max(2, round(subjects * 73 / PAPER_SUBJECTS))
    high = max(2, (subjects - low + 1) // 2)
    return {"LGG": low, "HGG": high, "Healthy": max(2, subjects - low - high)}


def write_cache(config: Config, subjects: int) -> list[str]:
    """Write shards, index and a split of 70 % and 30 % where `config` looks for them.

    Returns:
        The subjects' ids.
    """
    shape = config.preprocessing.shape
    labels = [label for label, count in class_sizes(subjects).items() for _ in range(count)]
    ids = [f"{label}-{number:04d}" for number, label in enumerate(labels)]
    affine = np.diag([config.preprocessing.spacing_mm] * 3 + [1.0])
    rows: list[IndexRow] = []
    for start in range(0, len(ids), SHARD_VOLUMES):
        names = ids[start : start + SHARD_VOLUMES]
        shard = f"shard-{start // SHARD_VOLUMES:04d}.h5"
        volumes = np.empty((len(names), len(config.data.channels), *shape), np.float16)
        for row, subject_id in enumerate(names):
            label = labels[start + row]
            volumes[row] = volume(start + row, shape, CLASSES.index(label) / 2)
            sha256 = voxel_sha256(volumes[row])
            place = (subject_id, subject_id, SOURCES[label], shard, row, subject_id, sha256)
            rows.append(IndexRow(*place, {"label": label}))
        write_shard(
            config.cache / shard,
            volumes,
            np.repeat(affine[None], len(names), 0),
            names,
            names,
            config.data.channels,
            dump_yaml(config.chain),
        )
    write_index(config.cache, rows)
    _write_split(config, rows)
    return ids


def _write_split(config: Config, rows: Sequence[IndexRow]) -> None:
    """Stratified folds, drawn without scikit-learn, which a bare GPU machine may lack."""
    subjects = splits.subjects_of(rows, config.data.label, config.cache / "index.csv")
    split = config.split
    generator = np.random.default_rng(split.seed)
    folds = []
    for _ in range(split.n):
        train: list[str] = []
        test: list[str] = []
        for label in CLASSES:
            ids = [subject.subject_id for subject in subjects if subject.label == label]
            ids = generator.permutation(ids).tolist()
            cut = min(len(ids) - 1, round(0.7 * len(ids)))
            train += ids[:cut]
            test += ids[cut:]
        folds.append(splits.Fold(tuple(sorted(train)), (), tuple(sorted(test))))
    splits.write_file(
        splits.SplitFile(
            path=config.split_file,
            kind=split.kind,
            label=config.data.label,
            classes=CLASSES,
            folds=tuple(folds),
            cohort_sha256=splits.cohort_sha256(subjects),
            settings={
                "n": split.n,
                "seed": split.seed,
                "test_fraction": split.test_fraction,
                "val_fraction": split.val_fraction,
            },
        )
    )
