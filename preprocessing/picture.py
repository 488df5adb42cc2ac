"""A small picture of one subject: three planes of the scan, with the brain's outline."""

from __future__ import annotations

import io

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from preprocessing.nifti import Image
from preprocessing.skullstrip import Mask, bounding_box

PANEL_MM = 220.0  # edge of each square panel
PANEL = 176  # its pixels
GREYS = 64  # shades; the PNG is half as large as with 256, and looks the same
OUTLINE = (255, 176, 0)


def montage(image: Image, brain: Mask) -> bytes:
    """Axial, coronal and sagittal planes through the middle of the brain, as a PNG.

    The scan is shown as it was found, skull included; superior and anterior are up, right is right,
    and in the sagittal panel anterior is right. Grey runs from the brain's 0.5th to its 99.5th
    percentile in these planes.
    """
    orientation = nib.io_orientation(image.affine)
    scan = nib.apply_orientation(image.data, orientation)
    brain = nib.apply_orientation(brain, orientation)
    spacing = image.spacing[np.argsort(orientation[:, 0])]
    box = bounding_box(brain)
    middle = [(part.start + part.stop - 1) // 2 for part in box]
    planes = []
    for axis in (2, 1, 0):
        across, up = (other for other in range(3) if other != axis)
        cut = [np.moveaxis(volume, axis, 0)[middle[axis]] for volume in (scan, brain)]
        # Pixels run right and down, voxels right (or anterior) and up.
        values, mask = (np.flipud(plane.T) for plane in cut)
        centre = (middle[across], cut[0].shape[1] - 1 - middle[up])
        edge = (PANEL_MM / spacing[across], PANEL_MM / spacing[up])
        planes.append((_panel(values.astype(np.float32), centre, edge), mask, centre, edge))
    seen = np.concatenate([values[_panel(m, c, e) > 0.5] for values, m, c, e in planes])
    low, high = np.percentile(seen, [0.5, 99.5]) if seen.size else (0.0, 0.0)
    drawn = []
    for values, mask, centre, edge in planes:
        shade = np.clip((values - low) / max(high - low, 1e-6), 0, 1) * (GREYS - 1)
        indices = shade.astype(np.uint8)
        indices[_outline(_panel(mask, centre, edge) > 0.5)] = GREYS
        drawn.append(indices)
    picture = Pillow.fromarray(np.concatenate(drawn, axis=1), mode="P")
    greys = [round(255 * step / (GREYS - 1)) for step in range(GREYS) for _ in range(3)]
    picture.putpalette([*greys, *OUTLINE])
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=6)
    return file.getvalue()


def _panel(
    plane: NDArray[np.generic], centre: tuple[int, int], edge: tuple[float, float]
) -> NDArray[np.float32]:
    """The square of `edge` (x, y) pixels of `plane` around `centre` (x, y), resized to a panel."""
    box = [
        (middle - size / 2, middle + size / 2) for middle, size in zip(centre, edge, strict=True)
    ]
    canvas = Pillow.fromarray(plane.astype(np.float32), mode="F")
    (left, right), (upper, lower) = box
    # Pillow's transform, unlike its resize, may look beyond the picture, where it finds 0.
    data = ((right - left) / PANEL, 0, left, 0, (lower - upper) / PANEL, upper)
    affine, bilinear = Pillow.Transform.AFFINE, Pillow.Resampling.BILINEAR
    return np.asarray(canvas.transform((PANEL, PANEL), affine, data, bilinear))


def _outline(mask: Mask) -> Mask:
    """Pixels of the mask next to a pixel outside it."""
    inner = mask.copy()
    for axis in (0, 1):
        for shift in (-1, 1):
            inner &= np.roll(mask, shift, axis)
    return mask & ~inner
