"""Smooth random fields in millimetres, the same whatever the voxel size."""

from __future__ import annotations

import numpy as np

# Voxel centres along right, anterior and superior, mm from the centre of the field of view.
Axes = tuple[np.ndarray, np.ndarray, np.ndarray]

# Knots reach this far from the centre of the field of view, mm: beyond the corner of any scan,
# and fixed, so that the same numbers are drawn for every voxel size.
REACH_MM = 150.0

# The sum of squared cubic B-spline weights along one axis, averaged over positions: makes the
# field's variance 1.
_SQUARED_WEIGHTS = 151 / 315


def smooth_field(rng: np.random.Generator, axes_mm: Axes, knot_mm: float) -> np.ndarray:
    """Draw a Gaussian random field of mean 0 and variance 1, smooth over `knot_mm`.

    Cubic B-splines with random weights, as three matrix products.

    Args:
        rng: Random stream.
        axes_mm: Where to evaluate it.
        knot_mm: Distance of the knots, mm.

    Returns:
        float32, shape of the three axes.
    """
    knots = int(np.ceil(2 * REACH_MM / knot_mm)) + 3
    weights = rng.standard_normal((knots, knots, knots), dtype=np.float32)
    for axis_mm in axes_mm:
        # Contracts the first axis and appends the voxels' one: three turns restore the order.
        weights = np.tensordot(weights, _spline_matrix(axis_mm, knot_mm, knots), axes=(0, 1))
    return weights / np.float32(_SQUARED_WEIGHTS**1.5)


def _spline_matrix(axis_mm: np.ndarray, knot_mm: float, knots: int) -> np.ndarray:
    """Return the weight of every knot at every position, float32, shape (positions, knots)."""
    position = (np.asarray(axis_mm) + REACH_MM) / knot_mm + 1
    distance = np.abs(position[:, None] - np.arange(knots)[None, :])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def ramp(value: np.ndarray, width: float) -> np.ndarray:
    """Rise from 0 to 1 around zero over `width`, linearly: a soft edge."""
    return np.clip(value / width + 0.5, 0, 1)
