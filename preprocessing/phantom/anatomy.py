"""One person's brain: the template warped, its averaged tissues sharpened, its contrast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation
from scipy.stats import norm

from preprocessing.phantom.atlas import Atlas
from preprocessing.phantom.config import Anatomy, Appearance, Sequence
from preprocessing.phantom.fields import Axes, ramp, smooth_field
from preprocessing.phantom.layout import Layout
from preprocessing.phantom.lesion import Lesion

# Distance of the knots of the field whose zero level makes the folds, mm: a gyrus is about as wide.
FOLD_KNOT_MM = 8.0


@dataclass(frozen=True)
class Tissue:
    """The warped template on one subject's grid (RAS order).

    `points_mni` (shape (3, …)) is where each voxel's skull comes from; `white` the fraction of
    white matter, `solid` of white and grey together, the rest being fluid; `inside` is above 0.5 in
    the brain; `depth` the distance outside the brain's hull, mm.
    """

    axes_mm: Axes
    points_mni: np.ndarray
    white: np.ndarray
    solid: np.ndarray
    inside: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True)
class Placement:
    """Where a subject's millimetres lie in the template: `matrix @ (mm - shift) + origin`."""

    matrix: np.ndarray
    shift_mm: np.ndarray
    origin_mni: np.ndarray

    def to_template(self, points_mm: np.ndarray) -> np.ndarray:
        """Map float32 points of shape (3, …) to MNI mm."""
        column = (3, *[1] * (points_mm.ndim - 1))
        shifted = points_mm - self.shift_mm.astype(np.float32).reshape(column)
        turned = np.tensordot(self.matrix.astype(np.float32), shifted, axes=1)
        return turned + self.origin_mni.astype(np.float32).reshape(column)

    def to_subject(self, point_mni: np.ndarray) -> np.ndarray:
        """Map one MNI point to the subject's mm."""
        return np.linalg.solve(self.matrix, point_mni - self.origin_mni) + self.shift_mm


def draw_placement(rng: np.random.Generator, anatomy: Anatomy, layout: Layout) -> Placement:
    """Draw the size, tilt and position of a head in the field of view."""
    scale = rng.uniform(*anatomy.scale) * rng.uniform(*anatomy.axis_scale, size=3)
    angles = rng.uniform(*anatomy.rotation_deg, size=3)
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    shift = rng.uniform(*anatomy.shift_mm, size=3)
    return Placement(np.diag(1 / scale) @ turn, shift, np.array(layout.template_mm))


def warp(
    rng: np.random.Generator,
    anatomy: Anatomy,
    atlas: Atlas,
    axes: Axes,
    placement: Placement,
    lesion: Lesion | None,
) -> Tissue:
    """Warp the template to the subject and sharpen its averaged tissues into one person's.

    Args:
        rng: Random stream.
        anatomy: Ranges.
        atlas: The template head.
        axes: The subject's grid.
        placement: Where it lies in the template.
        lesion: What pushes the tissue aside, if anything.
    """
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    if lesion is not None:
        points = lesion.push_outwards(points)
    points = placement.to_template(points)
    _displace(points, rng, axes, 60.0, rng.uniform(*anatomy.broad_warp_mm))
    # The skull follows the broad warp alone: gyri are one's own, but no skull is wavy.
    depth = atlas.head.sample("depth", points, 60.0)
    skull_points = points.copy()
    _displace(points, rng, axes, 14.0, rng.uniform(*anatomy.fine_warp_mm))

    # Only the box around the brain is looked up: half the time of a head.
    box = ndimage.find_objects((depth < 4.0).astype(np.uint8))[0]
    maps = {}
    for name in ("grey", "white", "inside", "cortex"):
        maps[name] = np.zeros(depth.shape, np.float32)
        maps[name][box] = atlas.brain.sample(name, points[:, *box], 0.0)
    grey, white, inside = maps["grey"], maps["white"], maps["inside"]
    inside += np.float32(0.06) * smooth_field(rng, axes, 8.0)
    inside[depth > 1.0] = 0

    solid = grey + white
    white /= np.maximum(solid, 0.05)
    # Averaging many brains blurred their folds away: sheets of a random field's zero level cut new
    # ones into the cortex, fluid flanked by grey matter, with white matter between them.
    fold_mm = FOLD_KNOT_MM * 0.8 * np.abs(smooth_field(rng, axes, FOLD_KNOT_MM))
    foldable = maps["cortex"] * np.float32(rng.uniform(*anatomy.folding))
    variation = np.float32(rng.uniform(*anatomy.sulcal_variation))
    threshold = rng.uniform(*anatomy.csf_threshold)
    solid += variation * smooth_field(rng, axes, 7.0)
    solid -= 0.5 * foldable * ramp(0.9 - fold_mm, 1.4)
    solid = ramp(solid - threshold, 1 / rng.uniform(*anatomy.csf_sharpness))
    white += variation * smooth_field(rng, axes, 7.0) * (4 * white * (1 - white))
    white += foldable * (0.3 * ramp(-depth - 6.0, 6.0) - 0.6 * ramp(4.0 - fold_mm, 3.0))
    white = ramp(white - 0.5, 1 / rng.uniform(*anatomy.grey_white_sharpness))
    return Tissue(axes, skull_points, white * solid, solid, inside, depth)


def _displace(
    points: np.ndarray,
    rng: np.random.Generator,
    axes: Axes,
    knot_mm: float,
    amplitude_mm: float,
) -> None:
    """Shift points of shape (3, …) by a smooth random field of that standard deviation."""
    for axis in range(3):
        points[axis] += np.float32(amplitude_mm) * smooth_field(rng, axes, knot_mm)


@dataclass(frozen=True)
class Details:
    """What the tissue fractions leave out, the same in every contrast of a subject.

    `mottling` is a factor about 1; `vessels` (in the sulci) and `sinus` run from 0 to 1.
    """

    mottling: np.ndarray
    vessels: np.ndarray
    sinus: np.ndarray


@dataclass(frozen=True)
class BrainLook:
    """One contrast of one brain: intensities (white matter = 1), and the sinus's share of them."""

    grey: float
    csf: float
    sinus: np.float32
    vessel: float


def draw_details(
    tissue: Tissue, sequence: Sequence, rng: np.random.Generator
) -> tuple[Details, BrainLook]:
    """Draw the details of a brain and, from the same stream, the look of its first contrast."""
    grey, csf = rng.uniform(*sequence.grey), rng.uniform(*sequence.csf)
    mottling = 1 + 0.02 * smooth_field(rng, tissue.axes_mm, 6.0)
    # Vessels run in the sulci: the upper tail of a fine field, where there is fluid.
    density = rng.uniform(*sequence.vessel_density)
    level = float(norm.isf(max(density, 1e-6)))
    vessels = ramp(smooth_field(rng, tissue.axes_mm, 4.0) - level, 0.5) * (tissue.solid < 0.6)
    x, _, z = tissue.points_mni
    sinus = ramp(4.0 - np.abs(x), 2.0) * ramp(tissue.depth + 5.0, 4.0) * (z > 0)
    share = np.float32(rng.uniform(*sequence.sinus))
    look = BrainLook(grey, csf, share, rng.uniform(*sequence.vessel_intensity))
    return Details(mottling, vessels, sinus), look


def draw_brain_look(ranges: Appearance, rng: np.random.Generator) -> BrainLook:
    """Draw the look of a further contrast."""
    return BrainLook(
        rng.uniform(*ranges.grey),
        rng.uniform(*ranges.csf),
        np.float32(rng.uniform(*ranges.sinus)),
        rng.uniform(*ranges.vessel_intensity),
    )


def brain_contrast(
    tissue: Tissue, details: Details, look: BrainLook, flow_dark: bool
) -> np.ndarray:
    """Turn tissue fractions into intensity (white matter = 1), sulcal veins and sinus included.

    Args:
        tissue: The subject's anatomy.
        details: What goes on top of it.
        look: The contrast's intensities.
        flow_dark: Whether vessels only darken what they cross, instead of only brightening it.
    """
    grey, csf = look.grey, look.csf
    image = csf + (grey - csf) * tissue.solid + (1 - grey) * tissue.white
    image *= details.mottling
    vessels = np.maximum(details.vessels, look.sinus * details.sinus)
    change = look.vessel - image
    return image + vessels * (np.minimum(change, 0) if flow_dark else np.maximum(change, 0))
