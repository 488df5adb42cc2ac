"""Where voxels lie: affines, boxes and grids. Worlds are RAS millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from preprocessing.brain import Mask

Matrix = NDArray[np.float64]  # (4, 4), of homogeneous coordinates


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a volume lie.

    Attributes:
        shape_WHD: voxels along right, anterior, superior.
        affine: (w, h, d, 1) → RAS millimetres.
    """

    shape_WHD: tuple[int, int, int]
    affine: Matrix

    def within(self, part: tuple[slice, ...]) -> Grid:
        """The grid of a box (d, h, w) of this one."""
        depth, height, width = (int(span.stop - span.start) for span in part)
        return Grid((width, height, depth), boxed_affine(self.affine, part[::-1]))


def inverse(matrix: Matrix) -> Matrix:
    """The map back."""
    return np.asarray(np.linalg.inv(matrix), np.float64)


def boxed_affine(affine: Matrix, box: tuple[slice, ...]) -> Matrix:
    """The affine of the part `box` of a scan."""
    moved = np.array(affine, np.float64)
    moved[:3, 3] = apply_affine(affine, [part.start for part in box])
    return moved


def centre_of_mass(brain: Mask) -> NDArray[np.float64]:
    """The brain's centre in indices."""
    centre = []
    for axis, size in enumerate(brain.shape):
        mass = profile(brain, axis)
        centre.append(mass @ np.arange(size) / mass.sum())
    return np.array(centre)


def profile(values: NDArray[np.bool_ | np.float32], axis: int) -> NDArray[np.float64]:
    """The sum of each plane across an axis."""
    others = tuple(other for other in range(3) if other != axis)
    sums: NDArray[np.float64] = values.sum(axis=others, dtype=np.float64)
    return sums
