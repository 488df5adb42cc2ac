"""Contrasts scanned apart: a grid of their own, the head moved between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from preprocessing.phantom.contrasts import Contrast
from preprocessing.phantom.layout import Layout


@dataclass(frozen=True)
class Movement:
    """A rigid movement of the head and the grid on which it is scanned then.

    A point of the head at `p` mm from the centre of the field of view moves to
    `turn @ p + shift_mm`.
    """

    layout: Layout
    turn: np.ndarray
    shift_mm: np.ndarray

    def matrix(self) -> np.ndarray:
        """Map world mm (RAS) of the unmoved scan to world mm of the moved one, shape (4, 4)."""
        centre = np.array(self.layout.world_mm)
        matrix = np.eye(4)
        matrix[:3, :3] = self.turn
        matrix[:3, 3] = centre + self.shift_mm - self.turn @ centre
        return matrix

    def apply(self, image: np.ndarray, unmoved: Layout) -> np.ndarray:
        """Resample intensities (RAS order) from the unmoved grid, averaging over thick slices."""
        sigmas = [
            # Standard deviation of a slice profile wider than the voxels that it is made of.
            np.sqrt(max(wide**2 - narrow**2, 0) / 12) / narrow
            for wide, narrow in zip(self.layout.spacing_mm, unmoved.spacing_mm, strict=True)
        ]
        return self._sample(ndimage.gaussian_filter(image, sigmas), unmoved, order=1)

    def apply_labels(self, labels: np.ndarray, unmoved: Layout) -> np.ndarray:
        """Resample labels (RAS order): the nearest voxel's."""
        return self._sample(labels, unmoved, order=0)

    def _sample(self, volume: np.ndarray, unmoved: Layout, order: int) -> np.ndarray:
        steps, own_steps = np.array(unmoved.spacing_mm), np.array(self.layout.spacing_mm)
        half, own_half = ((np.array(layout.voxels) - 1) / 2 for layout in (unmoved, self.layout))
        # Own voxel → own mm → head before the movement → the unmoved grid's voxel.
        back = self.turn.T
        matrix = back * own_steps / steps[:, None]
        offset = half + (back @ (-own_steps * own_half - self.shift_mm)) / steps
        return ndimage.affine_transform(
            volume, matrix, offset, output_shape=self.layout.voxels, order=order
        )


def draw_movement(
    rng: np.random.Generator, unmoved: Layout, contrast: Contrast, reach: float
) -> Movement:
    """Draw how a head has moved before one contrast.

    Args:
        rng: Random stream.
        unmoved: The grid of the subject's other scan.
        contrast: Decides the slices and how the file is stored.
        reach: Longest shift, mm, and largest turn, degrees.
    """
    axis, direction = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    turn = Rotation.from_rotvec(rng.uniform(0, reach) * axis, degrees=True).as_matrix()
    shift = rng.uniform(0, reach) * direction
    return Movement(_own_grid(unmoved, contrast, reach), turn, shift)


def _own_grid(unmoved: Layout, contrast: Contrast, room_mm: float) -> Layout:
    """Lay out a contrast by itself, with room on every side."""
    extent = np.array(unmoved.voxels) * np.array(unmoved.spacing_mm) + 2 * room_mm
    right, anterior, superior = map(max, unmoved.spacing_mm, contrast.slices_mm)
    return replace(
        unmoved,
        voxels=(
            ceil(extent[0] / right),
            ceil(extent[1] / anterior),
            ceil(extent[2] / superior),
        ),
        spacing_mm=(right, anterior, superior),
        orientation=contrast.orientation,
    )
