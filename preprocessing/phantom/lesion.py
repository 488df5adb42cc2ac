"""A tumour's shape and place in a phantom's brain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from preprocessing.phantom import config as phantom_config
from preprocessing.phantom.atlas import HEAD_LOW, Atlas
from preprocessing.phantom.fields import Axes, smooth_field


@dataclass(frozen=True)
class Waves:
    """A smooth random function of direction, mean 0: cosines of `vectors` (waves, 3)."""

    vectors: np.ndarray
    phases: np.ndarray
    heights: np.ndarray

    def at(self, directions: np.ndarray) -> np.ndarray:
        """Evaluate along unit vectors of shape (3, …)."""
        total = np.zeros(directions.shape[1:], np.float32)
        for vector, phase, height in zip(self.vectors, self.phases, self.heights, strict=True):
            total += height * np.cos(np.tensordot(vector, directions, axes=1) + phase)
        return total


def _draw_waves(rng: np.random.Generator, height: float, fineness: float) -> Waves:
    """Draw waves of that standard deviation; `fineness` is in radians over the sphere's radius."""
    count = 7
    return Waves(
        vectors=rng.normal(0, fineness, size=(count, 3)).astype(np.float32),
        phases=rng.uniform(0, 2 * np.pi, size=count),
        heights=height * rng.standard_normal(count) * np.sqrt(2 / count),
    )


@dataclass(frozen=True)
class Lesion:
    """A tumour's surface, given by its radius in every direction from its centre.

    An ellipsoid of `semi_axes_mm`, turned by `turn` (3×3), with bumps and dents. `sectors` is for
    what varies around the tumour; `mass_effect` is the push on the tissue at the centre.
    """

    centre_mm: np.ndarray
    diameter_mm: float
    turn: np.ndarray
    semi_axes_mm: np.ndarray
    bumps: Waves
    sectors: Waves
    mass_effect: float

    def radius_mm(self, directions: np.ndarray) -> np.ndarray:
        """Return the radius along unit vectors of shape (3, …)."""
        turned = np.tensordot(self.turn, directions, axes=1)
        semi_axes = self.semi_axes_mm.reshape(3, *[1] * (directions.ndim - 1))
        ellipsoid = 1 / np.sqrt(((turned / semi_axes) ** 2).sum(axis=0))
        return ellipsoid * np.exp(self.bumps.at(directions))

    def push_outwards(self, points_mm: np.ndarray) -> np.ndarray:
        """Move sampling points (3, …) towards the centre: what they sample is pushed outwards.

        The push falls off over 1.3 radii.
        """
        offset = points_mm - self.centre_mm.reshape(3, *[1] * (points_mm.ndim - 1))
        square = (offset**2).sum(axis=0) / np.float32((0.65 * self.diameter_mm) ** 2)
        return points_mm - offset * (np.float32(self.mass_effect) * np.exp(-square))


def draw_lesion(
    rng: np.random.Generator,
    ranges: phantom_config.Lesion,
    atlas: Atlas,
    to_subject: Callable[[np.ndarray], np.ndarray],
) -> Lesion:
    """Draw size, place and shape of a lesion.

    Args:
        rng: Random stream.
        ranges: What to draw from.
        atlas: The template head.
        to_subject: Maps an MNI point to the subject's mm.
    """
    diameter = float(rng.uniform(*ranges.diameter_mm))
    centre = to_subject(_draw_place(rng, ranges, atlas, diameter / 2)).astype(np.float32)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    semi_axes = np.array([1.0, *rng.uniform(*ranges.axis_ratio, size=2)])
    bumps = _draw_waves(rng, rng.uniform(*ranges.irregularity), 3.0)
    sectors = _draw_waves(rng, 1.0, 2.0)
    push = float(rng.uniform(*ranges.mass_effect))
    unit = Lesion(centre, diameter, turn.astype(np.float32), semi_axes, bumps, sectors, push)
    directions = rng.standard_normal((3, 2000))
    directions /= np.linalg.norm(directions, axis=0)
    longest = (unit.radius_mm(directions) + unit.radius_mm(-directions)).max()
    return replace(unit, semi_axes_mm=(semi_axes * diameter / longest).astype(np.float32))


def _draw_place(
    rng: np.random.Generator, ranges: phantom_config.Lesion, atlas: Atlas, radius_mm: float
) -> np.ndarray:
    """Draw a centre in the cerebrum, MNI mm, deep enough for the size."""
    depth, spacing = atlas.head.maps["depth"], atlas.head.spacing
    x, y, z = np.meshgrid(
        *(low + spacing * np.arange(n) for low, n in zip(HEAD_LOW, depth.shape, strict=True)),
        indexing="ij",
        sparse=True,
    )
    # Above the tentorium, to one side of the falx, clear of brain stem and deep ventricles.
    floor = np.where(y < -30, -14 + 0.3 * radius_mm, -14)
    beside = np.abs(x) > 6 + 0.5 * radius_mm
    places = np.argwhere((depth < -max(6.0, ranges.depth * radius_mm)) & beside & (z > floor))
    place = places[rng.integers(len(places))] + rng.uniform(-0.5, 0.5, size=3)
    return HEAD_LOW + spacing * place


@dataclass(frozen=True)
class Neighbourhood:
    """The voxels a lesion can touch: `slices` into the volume, and there the distances.

    `signed_mm` is the distance outside the surface along the radius (negative within), `sectors`
    runs from -1 to 1 around the tumour.
    """

    slices: tuple[slice, slice, slice]
    axes_mm: Axes
    signed_mm: np.ndarray
    sectors: np.ndarray


def neighbourhood(
    lesion: Lesion, axes_mm: Axes, margin_mm: float, rng: np.random.Generator
) -> Neighbourhood:
    """Measure the surroundings of a lesion up to `margin_mm` from its surface."""
    reach = lesion.diameter_mm / 2 + margin_mm
    right, anterior, superior = (
        slice(*np.searchsorted(axis, [middle - reach, middle + reach]))
        for axis, middle in zip(axes_mm, lesion.centre_mm, strict=True)
    )
    local = axes_mm[0][right], axes_mm[1][anterior], axes_mm[2][superior]
    offset = np.stack(np.meshgrid(*local, indexing="ij")) - lesion.centre_mm.reshape(3, 1, 1, 1)
    distance = np.sqrt((offset**2).sum(axis=0))
    directions = offset / np.maximum(distance, 1e-3)
    ragged = 0.8 * smooth_field(rng, local, 6.0)
    signed = distance - lesion.radius_mm(directions) + ragged
    sectors = np.clip(lesion.sectors.at(directions), -1, 1)
    return Neighbourhood((right, anterior, superior), local, signed.astype(np.float32), sectors)
