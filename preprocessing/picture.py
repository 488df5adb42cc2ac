"""A small picture of one subject: three planes of the scan, with the brain's outline."""

from __future__ import annotations

import io

import nibabel as nib
import numpy as np
from PIL import Image as Pillow

from preprocessing.brain import Mask, bounding_box
from preprocessing.nifti import Image
from stfmri.study.pictures import PLANES, panel

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
    cuts = [
        [panel(volume, plane, middle, spacing, PANEL_MM, PANEL) for volume in (scan, brain)]
        for plane in PLANES
    ]
    seen = np.concatenate([values[mask > 0.5] for values, mask in cuts])
    low, high = np.percentile(seen, [0.5, 99.5]) if seen.size else (0.0, 0.0)
    drawn = []
    for values, mask in cuts:
        shade = np.clip((values - low) / max(high - low, 1e-6), 0, 1) * (GREYS - 1)
        indices = shade.astype(np.uint8)
        indices[_outline(mask > 0.5)] = GREYS
        drawn.append(indices)
    picture = Pillow.fromarray(np.concatenate(drawn, axis=1), mode="P")
    greys = [round(255 * step / (GREYS - 1)) for step in range(GREYS) for _ in range(3)]
    picture.putpalette([*greys, *OUTLINE])
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=6)
    return file.getvalue()


def _outline(mask: Mask) -> Mask:
    """Pixels of the mask next to a pixel outside it."""
    inner = mask.copy()
    for axis in (0, 1):
        for shift in (-1, 1):
            inner &= np.roll(mask, shift, axis)
    return mask & ~inner
