"""A small picture of one subject: three planes of each contrast, with the brain's outline."""

from __future__ import annotations

import io

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage

from preprocessing.brain import Mask, bounding_box
from preprocessing.chain import Processed
from preprocessing.nifti import Image
from preprocessing.qc.noise import otsu
from stfmri.study.pictures import PLANES, panel

PANEL_MM = 220.0  # edge of each square panel
PANEL = 176  # its pixels
DEEP_MM = 15.0  # from the edge of the brain, in the plane, at which the inner line begins
GREYS = 64  # shades; the PNG is half as large as with 256, and looks the same
OUTLINE = (255, 176, 0)
INNER = (0, 200, 220)  # the reference's inner edge, in the rows of other contrasts

Indices = NDArray[np.uint8]  # a picture in the palette: greys, then the two lines


def picture(made: Processed, pixels: int = PANEL) -> bytes:
    """One row of planes for each contrast of a volume, as a PNG.

    The first row is the reference as it was found (`found_row`), each further row a stored channel
    (`channel_row`).

    Args:
        pixels: edge of each panel.
    """
    rows = [found_row(made.reference, made.brain, pixels)]
    channels = list(made.channels.values())
    spacing = np.linalg.norm(made.affine[:3, :3], axis=0)
    rows += [channel_row(channels[0], other, spacing, pixels) for other in channels[1:]]
    return png(np.concatenate(rows))


def montage(image: Image, brain: Mask) -> bytes:
    """The planes of one scan as a PNG."""
    return png(found_row(image, brain))


def found_row(image: Image, brain: Mask, pixels: int = PANEL) -> Indices:
    """Axial, coronal and sagittal planes of a scan, through the middle of its brain.

    The scan is shown as it was found, skull included; superior and anterior are up, right is right,
    and in the sagittal panel anterior is right. Grey runs from the brain's 0.5th to its 99.5th
    percentile in these planes.

    Returns:
        uint8 (pixels, 3 pixels), the brain's outline drawn in.
    """
    orientation = nib.io_orientation(image.affine)
    scan = nib.apply_orientation(image.data, orientation)
    brain = nib.apply_orientation(brain, orientation)
    spacing = image.spacing[np.argsort(orientation[:, 0])]
    shown, inside = (_planes(volume, brain, spacing, pixels) for volume in (scan, brain))
    return _drawn(shown, inside > 0.5)


def channel_row(
    reference_DHW: NDArray[np.float16],
    other_DHW: NDArray[np.float16],
    spacing: NDArray[np.float64],
    pixels: int = PANEL,
) -> Indices:
    """The same planes of a stored channel, with the outlines of the reference channel over it.

    The outer line is the edge of the brain; the inner one, deep in it, runs between the reference's
    darkest tissue class and the others, along the ventricles in most contrasts. Where the two
    contrasts are registered, both lines lie on edges of this picture, too.

    Args:
        spacing: of the stored voxels to the right, to anterior and superior, in mm.
    """
    reference, other = (
        volume.transpose(2, 1, 0).astype(np.float32) for volume in (reference_DHW, other_DHW)
    )
    brain = reference > 0
    planes = [_planes(volume, brain, spacing, pixels) for volume in (other, brain, reference)]
    shown, inside, below = planes[0], planes[1] > 0.5, planes[2]
    indices = _drawn(shown, inside)
    indices[_outline(_dark_and_deep(below, inside))] = GREYS + 1
    return indices


def _dark_and_deep(shown: NDArray[np.float32], inside: Mask) -> Mask:
    """The darkest of three intensity classes, away from the sulci that would hide the picture."""
    values = shown[inside]
    if not values.size:
        return inside
    dark, middle, _ = otsu(values, float(values.min()), float(values.max()))
    smooth = ndimage.gaussian_filter(shown, 1.0)
    deep = ndimage.binary_erosion(inside, iterations=round(DEEP_MM / PANEL_MM * len(inside)))
    return deep & (smooth < (dark[1] + middle[1]) / 2)


def png(indices: Indices) -> bytes:
    """A PNG of greys and lines."""
    drawn = Pillow.fromarray(indices, mode="P")
    greys = [round(255 * step / (GREYS - 1)) for step in range(GREYS) for _ in range(3)]
    drawn.putpalette([*greys, *OUTLINE, *INNER])
    file = io.BytesIO()
    drawn.save(file, "PNG", compress_level=6)
    return file.getvalue()


def _planes(
    volume: NDArray[np.generic], brain: Mask, spacing: NDArray[np.float64], pixels: int
) -> NDArray[np.float32]:
    """Three planes through the middle of `brain`, side by side."""
    middle = [(part.start + part.stop - 1) // 2 for part in bounding_box(brain)]
    cuts = [panel(volume, plane, middle, spacing, PANEL_MM, pixels) for plane in PLANES]
    return np.concatenate(cuts, axis=1)


def _drawn(shown: NDArray[np.float32], inside: Mask) -> Indices:
    """Greys between the brain's percentiles, and its outline."""
    low, high = np.percentile(shown[inside], [0.5, 99.5]) if inside.any() else (0.0, 0.0)
    shade = np.clip((shown - low) / max(high - low, 1e-6), 0, 1) * (GREYS - 1)
    indices = shade.astype(np.uint8)
    indices[_outline(inside)] = GREYS
    return indices


def _outline(mask: Mask) -> Mask:
    """Pixels of the mask next to a pixel outside it."""
    inner = mask.copy()
    for axis in (0, 1):
        for shift in (-1, 1):
            inner &= np.roll(mask, shift, axis)
    return mask & ~inner
