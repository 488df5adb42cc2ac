"""Pictures of single subjects from the shards: what a network got wrong, to look at."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from stfmri.study.config.data import SCAN
from stfmri.study.pictures import PLANES, panel
from stfmri.study.shards import CacheError, Volumes

PANEL = 132  # pixels of a square panel's edge
GAP, GAP_GREY = 2, 96  # pixels between panels, and their grey
GREYS = 48  # shades; the PNG is half as large as with 256, and looks the same
MARGIN = 1.2  # edge of a panel over the brain's largest extent
MARK_SIZE = 13  # pixels of a letter
MARK_GREY = 230
DESCRIPTION = "axial, coronal and sagittal plane through the brain's centre of mass; right is right"


@dataclass(frozen=True)
class Mistake:
    """A subject that a network got wrong.

    Attributes:
        probability: that the network gave to its prediction, in [0, 1].
        missed, tested: how often networks of all variants got the subject wrong, of how many tests.
    """

    subject_id: str
    source: str
    true: str
    predicted: str
    probability: float
    missed: int
    tested: int


@dataclass(frozen=True)
class MistakeCard:
    """A mistake with its picture as the address of an image; empty where there is none.

    Attributes:
        contrast: the one that the picture shows; empty where the cohort names none.
    """

    mistake: Mistake
    picture: str
    contrast: str = ""


def cards_of(mistakes: Sequence[Mistake], volumes: Volumes) -> tuple[MistakeCard, ...]:
    """A card for each mistake; a volume that cannot be read leaves its card without a picture."""
    return tuple(
        MistakeCard(mistake, *picture_of(volumes, mistake.subject_id)) for mistake in mistakes
    )


def picture_of(volumes: Volumes, subject_id: str) -> tuple[str, str]:
    """The montage of a subject as a data URI, and which contrast it shows.

    Of a subject that lacks the first contrast, the next one. Both are empty where the shard cannot
    be read, the second also where the cohort names no contrasts.
    """
    try:
        volume_CDHW, affine = volumes[subject_id], volumes.affine(subject_id)
        names = volumes.contrasts(subject_id)
    except CacheError:
        return "", ""
    shown = int(np.argmax([channel.any() for channel in volume_CDHW]))
    png = montage(volume_CDHW[shown], np.linalg.norm(affine[:3, :3], axis=0))
    address = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    return address, "" if names == (SCAN,) else names[shown]


def montage(volume_DHW: NDArray[np.generic], spacing_WHD: NDArray[np.float64]) -> bytes:
    """Axial, coronal and sagittal planes through the centre of mass of the brain, as a PNG.

    Superior and anterior are up; right is right (L and R are marked), and in the sagittal panel
    anterior is right (P and A). Black is 0 and white is 1, as the networks see the volume.

    Args:
        volume_DHW: as a shard holds one contrast, in [0, 1], 0 outside the brain; D runs to
            superior, H to anterior, W to right.
        spacing_WHD: of the voxels, in mm, along right, anterior and superior.
    """
    volume_WHD = np.transpose(volume_DHW, (2, 1, 0))
    middle, extent_mm = _centre_and_extent(volume_WHD, spacing_WHD)
    edge_mm = MARGIN * extent_mm
    panels = [
        _marked(
            panel(volume_WHD, plane, middle, spacing_WHD, edge_mm, PANEL), plane.left, plane.right
        )
        for plane in PLANES
    ]
    gap = np.full((PANEL, GAP), GAP_GREY, np.uint8)
    picture = Pillow.fromarray(np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def _centre_and_extent(
    volume_WHD: NDArray[np.generic], spacing: NDArray[np.float64]
) -> tuple[list[int], float]:
    """The voxel nearest to the brain's centre of mass, and the brain's largest extent in mm.

    Every voxel of the brain weighs the same; of an empty volume, the middle and all of it.
    """
    brain = np.asarray(volume_WHD) > 0
    if not brain.any():
        brain = np.ones_like(brain)
    places = np.argwhere(brain)
    extent = (np.ptp(places, axis=0) + 1) * spacing
    return [round(float(mean)) for mean in places.mean(axis=0)], float(extent.max())


def _marked(values: NDArray[np.float32], left: str, right: str) -> NDArray[np.uint8]:
    """A panel in shades of grey, with a letter in either upper corner."""
    steps = np.round(np.clip(values, 0, 1) * (GREYS - 1)) / (GREYS - 1)
    picture = Pillow.fromarray(np.round(255 * steps).astype(np.uint8))
    font = ImageFont.load_default(MARK_SIZE)
    draw = ImageDraw.Draw(picture)
    style = {"font": font, "fill": MARK_GREY, "stroke_width": 1, "stroke_fill": 0}
    draw.text((4, 3), left, anchor="la", **style)  # type: ignore[arg-type]
    draw.text((PANEL - 4, 3), right, anchor="ra", **style)  # type: ignore[arg-type]
    return np.asarray(picture)
