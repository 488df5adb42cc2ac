"""Heads as functions of the place in millimetres, and volumes made of them by the whole chain."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy import ndimage

from preprocessing.chain import Chain, Processed, process, read
from preprocessing.cohorts import SCAN, Scan
from preprocessing.nifti import Image
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig, PreprocessingConfig

RADII_MM = (62.0, 78.0, 56.0)


def inside(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether points (…, 3) lie in the brain: an ellipsoid with a stem, unlike on every side."""
    x, y, z = np.moveaxis(points, -1, 0)
    radius = (x / RADII_MM[0]) ** 2 + (y / RADII_MM[1]) ** 2 + (z / RADII_MM[2]) ** 2
    bumps = 0.08 * np.sin(x / 25 + 1) + 0.08 * np.sin(y / 30) + 0.05 * x * z / 3000
    stem = ((x - 3) / 14) ** 2 + ((y + 15) / 14) ** 2 + ((z + 40) / 30) ** 2 < 1
    return (radius + bumps < 1) | stem


def structure(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smooth anatomy, about -1 to 1, unlike in every direction.

    Its waves of 170 mm and more are those that linear interpolation between voxels of 2 mm follows
    to 5e-4.
    """
    x, y, z = np.moveaxis(points, -1, 0)
    return (
        np.sin(x / 29 + 0.5) * np.cos(y / 35)
        + 0.7 * np.sin(z / 27 + y / 60)
        + 0.4 * np.cos(x / 42 - z / 32)
    ) / 2.1


def tissue(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Anatomy with edges: grey, white and ventricles at 1, 2 and 3, 0.5 to 3 mm blurred."""
    x, y, z = np.moveaxis(points, -1, 0)
    folds = 6 * np.sin(x / 7) * np.sin(y / 8 + z / 9)
    radius = np.sqrt(sum((c / r) ** 2 for c, r in zip((x, y, z), RADII_MM, strict=True)))
    white = 1 / (1 + np.exp((radius * 60 - 44 + folds) / 1.5))
    ventricle = np.sqrt(((np.abs(x) - 12) / 9) ** 2 + ((y - 5) / 28) ** 2 + ((z - 6) / 11) ** 2)
    return 1 + white + 1 / (1 + np.exp((ventricle - 1) * 12))


# Contrasts of one anatomy, from 0 to about 1000, related by no straight line.
CONTRASTS = {
    "t1": lambda s: 550 + 400 * s,
    "t2": lambda s: 700 - 350 * s + 90 * s**2,
}
TISSUE_CONTRASTS = {
    "t1": lambda t: np.interp(t, [1, 2, 3], [500, 800, 150]),
    "t2": lambda t: np.interp(t, [1, 2, 3], [520, 380, 950]),
}


def grid(
    shape: tuple[int, int, int] = (84, 100, 84),
    spacing_mm: tuple[float, float, float] = (2.0, 2.0, 2.0),
    turn: NDArray[np.float64] | None = None,
) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """A scan's shape and affine, its middle near the origin."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) @ np.diag(spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2) + [1.3, -0.8, -4.4]
    return shape, affine


def rotation(degrees: tuple[float, float, float]) -> NDArray[np.float64]:
    """Turns around x, then y, then z."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        one, other = [a for a in range(3) if a != axis]
        step = np.eye(3)
        step[[one, one, other, other], [one, other, one, other]] = [
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        ]
        turn = step @ turn
    return turn


def stripped(
    contrast: str, shape: tuple[int, int, int], affine: NDArray[np.float64]
) -> nib.Nifti1Image:
    """A smooth stripped brain, float32, 0 outside."""
    points = apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    values = CONTRASTS[contrast](structure(points))
    return nib.Nifti1Image(np.where(inside(points), values, 0).astype(np.float32), affine)


def native(
    contrast: str,
    shape: tuple[int, int, int],
    affine: NDArray[np.float64],
    moved: NDArray[np.float64] | None = None,
    skull: bool = True,
) -> nib.Nifti1Image:
    """A brain with edges, in a skull or not, where `moved` took the head (world → world)."""
    points = apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    if moved is not None:
        points = apply_affine(np.linalg.inv(moved), points)
    values = TISSUE_CONTRASTS[contrast](tissue(points))
    brain = inside(points)
    scalp = inside(points / 1.25) & ~inside(points / 1.12) if skull else np.zeros_like(brain)
    noise = np.random.default_rng(len(contrast) + shape[0]).normal(0, 15, shape)
    values = np.where(brain, values, np.where(scalp, 700, 0)) + np.where(brain | scalp, noise, 0)
    return nib.Nifti1Image(values.astype(np.float32), affine)


def processed(
    scans: dict[str, nib.Nifti1Image],
    mask: nib.Nifti1Image | None = None,
    *,
    missing: str = "reject",
    contrasts: tuple[str, ...] = (),
    **settings: object,
) -> Processed:
    """What the whole chain makes of scans; without a mask they are stripped ones."""
    config = Config(
        data=DataConfig(contrasts=contrasts or tuple(scans), missing=missing),
        preprocessing=PreprocessingConfig(**settings),  # type: ignore[arg-type]
    )
    with TemporaryDirectory() as name:
        folder = Path(name)
        paths = {}
        for contrast, scan in scans.items():
            paths[contrast] = folder / f"{contrast}.nii"
            nib.save(scan, paths[contrast])
        if mask is not None:
            nib.save(mask, folder / "mask.nii")
        given = None if mask is None else folder / "mask.nii"
        subject = Scan("s", "s", "", "", paths, mask=given, stripped=mask is None)
        chain = Chain.of(config)
        return process(read(subject, chain), chain, folder / "masks")


def to_grid(
    image: Image, brain: NDArray[np.bool_], settings: PreprocessingConfig
) -> tuple[NDArray[np.float16], NDArray[np.float64]]:
    """The volume (1, D, H, W) of one scan with a given brain mask, and its affine."""
    plain = (image.slope, image.inter) == (1.0, 0.0)
    scan = nib.Nifti1Image(image.data if plain else image.values(), image.affine)
    mask = nib.Nifti1Image(brain.astype(np.uint8), image.affine)
    values = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    made = processed({SCAN: scan}, mask, **values)
    return made.volume_CDHW, made.affine


def interior(volume_DHW: NDArray[np.float16], voxels: int = 2) -> NDArray[np.bool_]:
    """Where a volume is at least some voxels from its brain's edge."""
    return ndimage.binary_erosion(ndimage.binary_fill_holes(volume_DHW > 0), iterations=voxels)
