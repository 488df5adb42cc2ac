"""The head from which every phantom is warped: the MNI brain and a head built around it.

Grey- and white-matter maps come with nilearn (MNI ICBM152 2009a, symmetric). Skull and scalp follow
the distance from the brain; face, eyes and neck are plain geometric bodies. All coordinates are MNI
millimetres, RAS.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nilearn.datasets import (
    load_mni152_gm_template,
    load_mni152_template,
    load_mni152_wm_template,
)
from scipy import ndimage

from preprocessing.phantom.fields import ramp

# Corners of the coarse grid, mm: room for a whole head and a short neck.
HEAD_LOW = np.array([-112.0, -150.0, -158.0])
HEAD_HIGH = np.array([112.0, 130.0, 114.0])

# A point or three radii, mm.
Triple = tuple[float, float, float]

# Below this height the vault gives way to the base of the skull, mm.
BASE_Z = -30.0


@dataclass(frozen=True)
class Grid:
    """Maps on a regular grid: voxel (i, j, k) lies at `origin + spacing * (i, j, k)` MNI mm."""

    origin: np.ndarray
    spacing: float
    maps: dict[str, np.ndarray]

    def sample(self, name: str, points_mm: np.ndarray, outside: float) -> np.ndarray:
        """Interpolate one map linearly.

        Args:
            name: Which map.
            points_mm: MNI coordinates, shape (3, …).
            outside: Value beyond the grid.

        Returns:
            float32, shape (…).
        """
        offset = self.origin.reshape(3, *[1] * (points_mm.ndim - 1))
        index = (points_mm - offset.astype(np.float32)) / np.float32(self.spacing)
        return ndimage.map_coordinates(
            self.maps[name], index, order=1, mode="constant", cval=outside, output=np.float32
        )


@dataclass(frozen=True)
class Atlas:
    """Template maps.

    `brain` holds `grey` and `white` (fractions, 0 to 1), `inside` (0 to 1, 0.5 at the brain's
    surface with its sulci) and `cortex` (0 to 1, where folds may be cut). `head` holds `depth` (mm
    outside the brain's smooth hull, negative within), `face` (mm outside the skin of face and neck,
    negative within), `temporalis` (muscle, 0 to 1) and `opening` (where the spinal cord leaves the
    skull, 0 to 1).
    """

    brain: Grid
    head: Grid


@functools.lru_cache(maxsize=2)
def load_atlas(spacing: int) -> Atlas:
    """Build the atlas, once per process.

    Args:
        spacing: Voxel size of the tissue maps, 1 or 2 mm.
    """
    template = load_mni152_template(resolution=spacing)
    intensity = template.get_fdata(dtype=np.float32)
    grey = load_mni152_gm_template(resolution=spacing).get_fdata(dtype=np.float32)
    white = load_mni152_wm_template(resolution=spacing).get_fdata(dtype=np.float32)
    solid = ndimage.binary_fill_holes(intensity > 0.1)
    inside = ndimage.gaussian_filter(solid.astype(np.float32), 1.0 / spacing)
    maps = {"grey": grey.clip(0, 1), "white": white.clip(0, 1), "inside": inside}
    origin = template.affine[:3, 3]
    brain = Grid(origin, float(spacing), maps)
    head = _build_head(brain)
    maps["cortex"] = _cortex(brain, head)
    return Atlas(brain, head)


def _cortex(brain: Grid, head: Grid) -> np.ndarray:
    """Where folds may be cut, 0 to 1: near the surface, not plainly white, not the brain stem."""
    grey, white = brain.maps["grey"], brain.maps["white"]
    axes = [
        start + brain.spacing * np.arange(count)
        for start, count in zip(brain.origin, grey.shape, strict=True)
    ]
    sparse = np.meshgrid(*axes, indexing="ij", sparse=True)
    stem = (4 * ellipsoid(sparse, (0, -32, -42), (26, 22, 50))).clip(0, 1)
    points = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    shallow = ramp(head.sample("depth", points, 60.0) + 16, 16.0)
    mixed = ramp(0.85 - white / np.maximum(grey + white, 0.05), 0.3)
    return (shallow * mixed * (1 - stem)).astype(np.float32)


def head_points(spacing: float) -> np.ndarray:
    """Return the coarse grid's voxel centres, MNI mm, float32, shape (3, …)."""
    axes = [
        np.arange(low, high + spacing / 2, spacing)
        for low, high in zip(HEAD_LOW, HEAD_HIGH, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def _build_head(brain: Grid) -> Grid:
    """Distances and the lower head, on a grid half as fine."""
    spacing = 2 * brain.spacing
    points = head_points(spacing)
    solid = brain.sample("inside", points, 0.0) > 0.5
    depth = _hull_distance(solid, spacing)
    maps = {
        "depth": depth,
        "face": _face_distance(points, spacing),
        "opening": (2 * ellipsoid(points, (0, -42, -76), (16, 16, 22))).clip(0, 1),
        "temporalis": ellipsoid(np.abs(points), (60, 18, -12), (22, 42, 46)).clip(0, 0.4) / 0.4,
    }
    return Grid(HEAD_LOW, spacing, maps)


def _hull_distance(solid: np.ndarray, spacing: float) -> np.ndarray:
    """Signed distance from the brain with its sulci closed over, mm, positive outside."""
    closing_mm = 9.0
    outward = ndimage.distance_transform_edt(~solid, sampling=spacing)
    swollen = outward < closing_mm
    inward = ndimage.distance_transform_edt(swollen, sampling=spacing)
    hull = inward > closing_mm
    distance = ndimage.distance_transform_edt(~hull, sampling=spacing)
    distance -= ndimage.distance_transform_edt(hull, sampling=spacing)
    return ndimage.gaussian_filter(distance.astype(np.float32), 4.0 / spacing)


def ellipsoid(
    points: Sequence[np.ndarray] | np.ndarray, centre: Triple, radii: Triple
) -> np.ndarray:
    """Return 1 at the centre, 0 at the surface, negative outside; distance is in radii."""
    square = sum(
        ((axis - middle) / radius) ** 2
        for axis, middle, radius in zip(points, centre, radii, strict=True)
    )
    return 1 - np.sqrt(square)


def _face_distance(points: np.ndarray, spacing: float) -> np.ndarray:
    """Signed distance from the skin of face and neck, mm, positive outside."""
    x, y, z = points
    jaw = (np.abs(points[0]), y, z)
    bodies = [
        ellipsoid(points, (0, 28, -72), (62, 66, 74)),
        ellipsoid(points, (0, -20, -52), (74, 62, 62)),
        ellipsoid(points, (0, 92, -52), (14, 20, 24)),
        ellipsoid(jaw, (30, 50, -95), (34, 42, 50)),
        # The neck, an elliptic cylinder that begins behind the skull base.
        np.minimum(1 - np.hypot(x / 60, (y + 38) / 62), (-42 - z) / 60),
    ]
    inside = np.max(bodies, axis=0) > 0
    distance = ndimage.distance_transform_edt(~inside, sampling=spacing)
    distance -= ndimage.distance_transform_edt(inside, sampling=spacing)
    return ndimage.gaussian_filter(distance.astype(np.float32), 3.0 / spacing)
