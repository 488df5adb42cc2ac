"""Gliomas drawn into a phantom: shape, place and look of low and high grade."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preprocessing.phantom_atlas import HEAD_LOW, HEAD_SPACING, Atlas
from preprocessing.phantom_config import PhantomConfig
from preprocessing.phantom_fields import ramp, smooth_field

# Values of the label map that `--masks` writes; `> 0` is the brain.
BRAIN, OEDEMA, CORE, RIM = 1, 2, 3, 4

# Bumps on a lesion's surface: this many waves over the sphere of directions.
WAVES = 7


@dataclass(frozen=True)
class Shape:
    """A closed surface around `centre_mm`: its radius in every direction.

    `turn` (3×3) and `semi_axes_mm` make an ellipsoid; waves of direction (`waves`, shape (WAVES, 3))
    with `phases` and `heights` add bumps and dents; `scale` makes the longest diameter exact.
    """

    centre_mm: np.ndarray
    turn: np.ndarray
    semi_axes_mm: np.ndarray
    waves: np.ndarray
    phases: np.ndarray
    heights: np.ndarray
    scale: float

    def radius_mm(self, directions: np.ndarray) -> np.ndarray:
        """Return the radius along unit vectors of shape (3, …)."""
        turned = np.tensordot(self.turn, directions, axes=1)
        semi_axes = self.semi_axes_mm.reshape(3, *[1] * (directions.ndim - 1))
        ellipsoid = 1 / np.sqrt(((turned / semi_axes) ** 2).sum(axis=0))
        return self.scale * ellipsoid * np.exp(self.bumps(directions))

    def bumps(self, directions: np.ndarray) -> np.ndarray:
        """Return the relative height of the surface's waves along unit vectors (3, …)."""
        total = np.zeros(directions.shape[1:], np.float32)
        for wave, phase, height in zip(self.waves, self.phases, self.heights, strict=True):
            total += height * np.cos(np.tensordot(wave, directions, axes=1) + phase)
        return total


def draw_diameter(rng: np.random.Generator, config: PhantomConfig) -> float:
    """Draw a longest diameter, mm."""
    return float(rng.uniform(*config.lesion.diameter_mm))


def draw_shape(
    rng: np.random.Generator, config: PhantomConfig, diameter_mm: float, centre_mm: np.ndarray
) -> Shape:
    """Draw a surface whose longest diameter is `diameter_mm`, around `centre_mm`."""
    lesion = config.lesion
    semi_axes = np.array([1.0, *rng.uniform(*lesion.axis_ratio, size=2)]) / 2
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    height = rng.uniform(*lesion.irregularity)
    shape = Shape(
        centre_mm=centre_mm,
        turn=turn.astype(np.float32),
        semi_axes_mm=semi_axes.astype(np.float32),
        waves=rng.normal(0, 3.0, size=(WAVES, 3)).astype(np.float32),
        phases=rng.uniform(0, 2 * np.pi, size=WAVES),
        heights=height * rng.standard_normal(WAVES) * np.sqrt(2 / WAVES),
        scale=1.0,
    )
    directions = rng.standard_normal((3, 2000))
    directions /= np.linalg.norm(directions, axis=0)
    longest = (shape.radius_mm(directions) + shape.radius_mm(-directions)).max()
    return Shape(**{**vars(shape), "scale": float(diameter_mm / longest)})


def draw_place(
    rng: np.random.Generator, config: PhantomConfig, atlas: Atlas, diameter_mm: float
) -> np.ndarray:
    """Draw a centre in the cerebral white or grey matter, MNI mm, deep enough for the size."""
    radius = diameter_mm / 2
    axes = [
        HEAD_LOW[axis] + HEAD_SPACING * np.arange(n)
        for axis, n in enumerate(atlas.head.maps["depth"].shape)
    ]
    deep = atlas.head.maps["depth"] < -max(6.0, config.lesion.depth * radius)
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    # Above the tentorium, to one side of the falx, clear of brain stem and deep ventricles.
    allowed = deep & (np.abs(x) > 6 + 0.5 * radius) & (z > -14 + 0.3 * (y < -30) * radius)
    places = np.argwhere(allowed)
    place = places[rng.integers(len(places))]
    return HEAD_LOW + HEAD_SPACING * place + rng.uniform(-1, 1, size=3)


def push_outwards(points_mm: np.ndarray, shape: Shape, radius_mm: float, strength: float):
    """Move sampling points towards a lesion's centre, so that what they sample is pushed outwards.

    Args:
        points_mm: Voxel positions, shape (3, …), mm.
        shape: The lesion.
        radius_mm: Its half diameter.
        strength: Push at the centre, as a share of the distance; falls off over 1.3 radii.
    """
    offset = points_mm - shape.centre_mm.reshape(3, 1, 1, 1).astype(np.float32)
    square = (offset**2).sum(axis=0) / np.float32((1.3 * radius_mm) ** 2)
    return points_mm - offset * (np.float32(strength) * np.exp(-square))


@dataclass(frozen=True)
class Neighbourhood:
    """The voxels a lesion can touch: `slices` into the volume, and there the distances.

    `signed_mm` is the distance outside the surface along the radius (negative within), `bumps` a
    second set of waves of the direction, about -1 to 1, for what varies around the tumour.
    """

    slices: tuple[slice, slice, slice]
    axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray]
    signed_mm: np.ndarray
    bumps: np.ndarray


def neighbourhood(
    shape: Shape, axes_mm: tuple[np.ndarray, ...], reach_mm: float, rng: np.random.Generator
) -> Neighbourhood | None:
    """Measure the surroundings of a lesion; None where it lies outside the volume."""
    slices = tuple(
        slice(*np.searchsorted(axis, [middle - reach_mm, middle + reach_mm]))
        for axis, middle in zip(axes_mm, shape.centre_mm, strict=True)
    )
    local = tuple(axis[part] for axis, part in zip(axes_mm, slices, strict=True))
    if not all(map(len, local)):
        return None
    offset = np.stack(np.meshgrid(*local, indexing="ij")).astype(np.float32)
    offset -= shape.centre_mm.reshape(3, 1, 1, 1).astype(np.float32)
    distance = np.sqrt((offset**2).sum(axis=0))
    directions = offset / np.maximum(distance, 1e-3)
    ragged = 0.8 * smooth_field(rng, local, 6.0)
    around = Shape(
        **{
            **vars(shape),
            "waves": rng.normal(0, 2.0, size=(WAVES, 3)).astype(np.float32),
            "heights": rng.standard_normal(WAVES) * np.sqrt(2 / WAVES),
        }
    ).bumps(directions)
    signed = distance - shape.radius_mm(directions) + ragged
    return Neighbourhood(slices, local, signed.astype(np.float32), np.clip(around, -1, 1))


def paint_low_grade(
    image: np.ndarray,
    labels: np.ndarray,
    near: Neighbourhood,
    config: PhantomConfig,
    rng: np.random.Generator,
) -> None:
    """Draw a low-grade glioma: darker than white matter, soft-edged, without enhancement.

    Changes `image` (white matter = 1) and `labels` in place.
    """
    look = config.lgg
    edge, strength = rng.uniform(*look.edge_mm), rng.uniform(*look.strength)
    mottling = 1 + rng.uniform(*look.texture) * smooth_field(rng, near.axes_mm, 8.0)
    target = rng.uniform(*look.intensity) * mottling
    local, marks = image[near.slices], labels[near.slices]
    weight = strength * ramp(-near.signed_mm, edge) * (marks > 0)
    local += weight * (target - local)
    marks[(near.signed_mm < 0) & (marks > 0)] = CORE


def paint_high_grade(
    image: np.ndarray,
    labels: np.ndarray,
    near: Neighbourhood,
    white: np.ndarray,
    radius_mm: float,
    config: PhantomConfig,
    rng: np.random.Generator,
) -> None:
    """Draw a high-grade glioma: oedema in white matter, an enhancing rim, a necrotic core.

    Changes `image` (white matter = 1) and `labels` in place; `white` is the white-matter fraction.
    """
    look = config.hgg
    local, marks = image[near.slices], labels[near.slices]
    brain = marks > 0
    signed, bumps = near.signed_mm, near.bumps

    width = rng.uniform(*look.oedema_mm) * (1 + 0.6 * bumps)
    fingers = smooth_field(rng, near.axes_mm, 12.0)
    swelling = ramp(width + 2.0 * fingers - signed, 4.0) * (0.25 + 0.75 * white[near.slices])
    local += 0.9 * swelling * brain * (rng.uniform(*look.oedema_intensity) - local).clip(max=0)
    marks[(swelling > 0.5) & brain & (signed > 0)] = OEDEMA

    mottling = 1 + rng.uniform(*look.texture) * smooth_field(rng, near.axes_mm, 6.0)
    thickness = min(rng.uniform(*look.rim_mm), radius_mm / 3)
    uneven = 0.4 * bumps * rng.choice([-1, 1]) + 0.3 * smooth_field(rng, near.axes_mm, 9.0)
    thickness = thickness * np.clip(1 + uneven, 0.4, 1.8)
    full, core = rng.uniform(*look.rim_intensity), rng.uniform(*look.core_intensity)
    # Sectors beyond the completeness enhance weakly: bumps are about uniform on -1 to 1.
    completeness = rng.uniform(*look.rim_completeness)
    enhancing = ramp(2 * completeness - 1 - bumps, 0.5)
    rim = 0.8 + (full - 0.8) * (0.15 + 0.85 * enhancing)
    inner = ramp(-thickness - signed, 1.6)
    tumour = (1 - inner) * rim * mottling + inner * core * (1 + (mottling - 1) * 1.5)
    weight = ramp(-signed, 1.4) * brain
    local += weight * (tumour - local)
    marks[(signed < 0) & brain] = RIM
    marks[(signed < -thickness) & brain] = CORE
