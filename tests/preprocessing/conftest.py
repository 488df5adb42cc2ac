"""Small scans: a brain-sized ellipsoid with a texture, in a head or stripped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig, PreprocessingConfig

SHAPE = (44, 52, 44)  # voxels of 4 mm: 176 × 208 × 176 mm
SPACING_MM = 4.0


def brain_values(
    seed: int, radii_mm: tuple[float, float, float] = (65, 85, 60)
) -> NDArray[np.int16]:
    """A stripped brain on canonical axes: 300–900 inside an ellipsoid, 0 outside."""
    grid = np.indices(SHAPE, np.float64)
    middle = (np.array(SHAPE) - 1) / 2
    distances = [(grid[axis] - middle[axis]) * SPACING_MM / radii_mm[axis] for axis in range(3)]
    inside = sum(distance**2 for distance in distances) <= 1
    rng = np.random.default_rng(seed)
    # Every corner of the brain differs, so that a flipped or swapped axis shows.
    ramp = 600 + 100 * distances[0] + 60 * distances[1] + 30 * distances[2]
    values = np.clip(ramp + rng.normal(0, 40, SHAPE), 300, 900)
    return np.where(inside, values, 0).astype(np.int16)


def write_scan(path: Path, values: NDArray[np.generic], spacing_mm: float = SPACING_MM) -> Path:
    """Write `values` with canonical axes, the brain's middle at the origin."""
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = -spacing_mm * (np.array(values.shape[:3]) - 1) / 2
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


@pytest.fixture
def cohort(tmp_path: Path) -> Callable[..., Config]:
    """Make a table of stripped scans and the configuration that preprocesses it at 8 mm."""

    def make(count: int = 5, shard_volumes: int = 2, **preprocessing: object) -> Config:
        lines = ["subject_id,path,label,stripped,age"]
        for number in range(count):
            write_scan(tmp_path / "scans" / f"s{number}.nii.gz", brain_values(number))
            lines.append(f"s{number},scans/s{number}.nii.gz,{'ab'[number % 2]},true,{30 + number}")
        table = tmp_path / "cohort.csv"
        table.write_text("\n".join(lines) + "\n")
        return Config(
            root=str(tmp_path),
            data=DataConfig(kind="table", name="small", table=str(table)),
            preprocessing=PreprocessingConfig(
                spacing_mm=8,
                shard_volumes=shard_volumes,
                **preprocessing,  # type: ignore[arg-type]
            ),
        )

    return make
