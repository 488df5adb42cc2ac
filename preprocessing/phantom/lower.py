"""What lies below the skull, in one contrast: face, eyes, neck and spine as geometric bodies."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from preprocessing.phantom.atlas import Grid, ellipsoid, head_points, load_atlas

AIR = 0.03


@dataclass(frozen=True)
class Palette:
    """Intensity of each material in one contrast, white matter = 1."""

    muscle: float
    fat: float
    bone: float
    mucosa: float
    marrow: float
    fluid: float
    cord: float
    clivus: float
    septum: float
    tongue: float
    jaw: float
    vitreous: float
    lens: float
    skin: float


PALETTE_T1 = Palette(
    muscle=0.46,
    fat=0.95,
    bone=0.08,
    mucosa=0.55,
    marrow=0.6,
    fluid=0.22,
    cord=0.9,
    clivus=0.55,
    septum=0.3,
    tongue=0.6,
    jaw=0.5,
    vitreous=0.16,
    lens=0.45,
    skin=0.6,
)
# By eye from the T2 of TCGA-FG-6692, and because water is bright: eyes, mucosa, spinal fluid.
PALETTE_T2 = Palette(
    muscle=0.35,
    fat=1.3,
    bone=0.08,
    mucosa=1.7,
    marrow=0.7,
    fluid=2.8,
    cord=0.9,
    clivus=0.6,
    septum=0.8,
    tongue=0.55,
    jaw=0.5,
    vitreous=3.0,
    lens=0.5,
    skin=0.5,
)


@functools.lru_cache(maxsize=4)
def load_lower(atlas_spacing: int, palette: Palette) -> Grid:
    """Build the lower head in one contrast, once per process; its one map is `lower`.

    Args:
        atlas_spacing: As given to `load_atlas`.
        palette: The contrast.
    """
    head = load_atlas(atlas_spacing).head
    points = head_points(head.spacing)
    maps = {"lower": _lower_head(points, head.maps["face"], head.spacing, palette)}
    return Grid(head.origin, head.spacing, maps)


def _lower_head(
    points: np.ndarray, face: np.ndarray, spacing: float, palette: Palette
) -> np.ndarray:
    """Intensity of what lies below the skull: muscle, fat, air, bone, eyes, spinal cord."""
    x, y, z = points
    mirrored = np.stack([np.abs(x), y, z])
    texture = _fixed_noise(points.shape[1:], 5.0 / spacing)
    bone, fat, mucosa = palette.bone, palette.fat, palette.mucosa

    value = np.full(points.shape[1:], palette.muscle, np.float32) + 0.06 * texture
    value[np.abs(texture) < 0.13] = 0.8 * fat  # sheets of fat between the muscles
    value[face > -6.0] = fat

    def put(body: np.ndarray, intensity: float | np.ndarray) -> None:
        value[...] = np.where(body > 0, intensity, value)

    vertebra = ellipsoid((x, y, (z + 118) % 17 - 8.5), (0, -16, 0), (13, 11, 7.5))
    below = z < -84
    column = (x, y, 0 * z)
    put(np.where(below, ellipsoid(column, (0, -30, 0), (19, 24, 50)), -1), bone)
    put(np.where(below, vertebra, -1), palette.marrow)
    put(np.where(z < -66, ellipsoid(column, (0, -42, 0), (10, 9, 9)), -1), palette.fluid)
    put(np.where(z < -66, ellipsoid(column, (0, -42, 0), (6, 5, 9)), -1), palette.cord)
    # Clivus and the petrous bone with its air cells.
    put(ellipsoid(points, (0, 2, -52), (13, 12, 16)), palette.clivus)
    put(ellipsoid(mirrored, (44, -32, -50), (22, 16, 13)), bone + 0.25 * (texture > 0.9))
    # Throat, nasal cavity with its conchae, the sinuses.
    put(ellipsoid(points, (0, 20, -98), (11, 9, 40)), AIR)
    conchae = np.where(texture > 0.1, mucosa, 0.06)
    put(ellipsoid(points, (0, 54, -54), (16, 36, 26)), conchae)
    put(ellipsoid(points, (0, 58, -56), (2, 34, 20)), palette.septum)
    put(ellipsoid(mirrored, (28, 50, -68), (13, 15, 15)), AIR)
    put(ellipsoid(points, (0, 44, -84), (26, 36, 5)), bone + 0.3 * (texture > 0.3))
    put(ellipsoid(points, (0, 16, -42), (13, 12, 9)), AIR)
    # Jaw, teeth and tongue.
    put(ellipsoid(points, (0, 40, -108), (26, 34, 22)), palette.tongue + 0.08 * texture)
    put(ellipsoid(mirrored, (42, 36, -104), (6, 44, 20)), palette.jaw * (texture > 0))
    # Eyes in their fat, the muscles behind them.
    put(ellipsoid(mirrored, (31, 52, -36), (20, 32, 18)), fat)
    put(ellipsoid(mirrored, (24, 38, -36), (3.5, 22, 3.5)), mucosa)
    put(ellipsoid(mirrored, (33, 67, -36), (14, 14, 14)), mucosa)
    put(ellipsoid(mirrored, (33, 67, -36), (12, 12, 12)), palette.vitreous)
    put(ellipsoid(mirrored, (33, 77, -36), (5, 2.5, 5)), palette.lens)
    value[face > -1.5] = palette.skin
    return ndimage.gaussian_filter(value, 1.0 / spacing)


def _fixed_noise(shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Smooth noise of variance 1, the same in every atlas."""
    noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, sigma)
    return smooth / smooth.std()
