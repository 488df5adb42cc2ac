"""Planes of a volume as pictures: where up, left and right are, and how millimetres become pixels.

Volumes are on canonical axes here: the first runs to the right, the second to anterior, the third
to superior. In a picture right is right (the neurological convention) and superior and anterior are
up; in a sagittal plane, which has neither right nor left, anterior is to the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow


@dataclass(frozen=True)
class Plane:
    """One way to cut a volume.

    Attributes:
        axis: across which it is cut: 0 right, 1 anterior, 2 superior.
        left, right, up: the letters of the directions at the edges of its picture.
    """

    name: str
    axis: int
    left: str
    right: str
    up: str


PLANES = (
    Plane("axial", 2, "L", "R", "A"),
    Plane("coronal", 1, "L", "R", "S"),
    Plane("sagittal", 0, "P", "A", "S"),
)


def panel(
    volume_WHD: NDArray[np.generic],
    plane: Plane,
    middle: Sequence[int],
    spacing: Sequence[float] | NDArray[np.float64],
    edge_mm: float,
    pixels: int,
) -> NDArray[np.float32]:
    """A square picture of the plane through a voxel, which lies at its centre.

    Args:
        volume_WHD: axes to right, anterior and superior.
        middle: the voxel (w, h, d).
        spacing: of the voxels along the three axes, in mm; need not be equal.
        edge_mm: edge of the square; what lies beyond the volume is 0.
        pixels: the same edge in the picture.

    Returns:
        float32 (pixels, pixels), interpolated linearly; the first row is the top.
    """
    across, up = (other for other in range(3) if other != plane.axis)
    cut = np.moveaxis(volume_WHD, plane.axis, 0)[middle[plane.axis]]
    # Pixels run right and down, voxels right (or anterior) and up.
    centre = (middle[across], cut.shape[1] - 1 - middle[up])
    width, height = edge_mm / spacing[across], edge_mm / spacing[up]
    canvas = Pillow.fromarray(np.flipud(cut.T).astype(np.float32), mode="F")
    # Pillow's transform, unlike its resize, may look beyond the picture, where it finds 0.
    data = (
        *(width / pixels, 0, centre[0] - width / 2),
        *(0, height / pixels, centre[1] - height / 2),
    )
    affine, bilinear = Pillow.Transform.AFFINE, Pillow.Resampling.BILINEAR
    return np.asarray(canvas.transform((pixels, pixels), affine, data, bilinear))
