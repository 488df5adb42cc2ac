"""One phantom: anatomy, tissue contrast, head or lesion, scanner; then voxels and affine."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from nibabel import Nifti1Image
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from nibabel.orientations import apply_orientation
from scipy import ndimage
from scipy.stats import norm

from preprocessing import phantom_lesion
from preprocessing.phantom_atlas import BASE_Z, Atlas
from preprocessing.phantom_config import Acquisition, PhantomConfig, Sequence
from preprocessing.phantom_fields import ramp, smooth_field
from preprocessing.phantom_plan import Subject


# Distance of the knots of the field whose zero level makes the folds, mm: a gyrus is about as wide.
FOLD_KNOT_MM = 8.0


@dataclass(frozen=True)
class Layout:
    """Field of view of one data set: size and voxels, in RAS order, and how the file stores them.

    `template_mm` is the MNI point at the centre of the field of view, `world_mm` what the file's
    affine says of that centre.
    """

    voxels: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str
    template_mm: tuple[float, float, float]
    world_mm: tuple[float, float, float]

    def axes_mm(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return voxel centres along right, anterior and superior, mm from the centre."""
        return tuple(
            (step * (np.arange(count) - (count - 1) / 2)).astype(np.float32)
            for count, step in zip(self.voxels, self.spacing_mm, strict=True)
        )


def brats_layout(spacing: float, full_size: bool) -> Layout:
    """BraTS: 240×240×155 mm, stored left-posterior-superior, with the origin of SRI24 space."""
    step = 1.0 if full_size else spacing
    voxels = tuple(int(np.ceil(extent / step)) for extent in (240, 240, 155))
    return Layout(voxels, (step,) * 3, "LPS", (0, -17, 5.5), (-119.5, 119.5, 77.0))


def ixi_layout(spacing: float, full_size: bool) -> Layout:
    """IXI: 240×240×180 mm, stored posterior-superior-right (sagittal slices)."""
    if full_size:
        voxels, steps = (150, 256, 256), (1.2, 0.9375, 0.9375)
    else:
        voxels = tuple(int(np.ceil(extent / spacing)) for extent in (180, 240, 240))
        steps = (spacing,) * 3
    return Layout(voxels, steps, "PSR", (0, -8, -22), (0.0, -2.0, -15.0))


@dataclass(frozen=True)
class Phantom:
    """A finished phantom.

    `image` is int16 as the data set stores it; `mask` (uint8, same grid) is above 0 in the brain,
    with the lesion's parts as in `phantom_lesion`.
    """

    image: Nifti1Image
    mask: Nifti1Image


@dataclass(frozen=True)
class Tissue:
    """The warped template on one subject's grid (RAS order)."""

    axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray]
    points_mni: np.ndarray
    white: np.ndarray
    solid: np.ndarray
    inside: np.ndarray
    depth: np.ndarray


def make_phantom(
    subject: Subject,
    config: PhantomConfig,
    atlas: Atlas,
    layout: Layout,
    seed: int,
) -> Phantom:
    """Draw one subject.

    Args:
        subject: Who it is.
        config: The ranges to draw from.
        atlas: The template head.
        layout: The grid to fill.
        seed: The cohort's seed.
    """
    tumour = subject.label != "Healthy"
    acquisition = _scanner(config.acquisition, subject.centre)
    sequence = config.t1ce if tumour else config.t1
    shape, diameter = _draw_lesion(subject, config, atlas, layout, seed) if tumour else (None, 0.0)
    tissue = _warp(subject, config, atlas, layout, seed, shape, diameter)
    image = _brain_contrast(tissue, sequence, subject.rng(seed, "contrast"))
    labels = (tissue.inside > 0.5).astype(np.uint8)

    if tumour:
        rng = subject.rng(seed, "lesion look")
        reach = diameter / 2 + 2 * config.hgg.oedema_mm[1]
        near = phantom_lesion.neighbourhood(shape, tissue.axes_mm, reach, rng)
        if subject.label == "LGG":
            phantom_lesion.paint_low_grade(image, labels, near, config, rng)
        else:
            phantom_lesion.paint_high_grade(
                image, labels, near, tissue.white, diameter / 2, config, rng
            )
    else:
        image = _add_head(image, tissue, config, atlas, subject.rng(seed, "head"))
    stored = _acquire(image, tissue.axes_mm, layout, acquisition, subject.rng(seed, "scanner"))
    if tumour:
        stored[labels == 0] = 0
    return Phantom(_nifti(stored, layout), _nifti(labels, layout))


def _scanner(ranges: Acquisition, centre: str) -> Acquisition:
    """Narrow the acquisition ranges around a point that belongs to the centre's name."""
    rng = np.random.default_rng(zlib.crc32(centre.encode()))
    narrowed = {}
    for name in ("bias", "noise", "blur_mm", "gamma"):
        low, high = getattr(ranges, name)
        own, pull = rng.uniform(low, high), ranges.signature
        narrowed[name] = (low + pull * (own - low), high + pull * (own - high))
    return replace(ranges, **narrowed)


def _linear_map(rng: np.random.Generator, config: PhantomConfig) -> tuple[np.ndarray, np.ndarray]:
    """Draw how subject millimetres map to template ones: a 3×3 matrix and a shift, mm."""
    anatomy = config.anatomy
    scale = rng.uniform(*anatomy.scale) * rng.uniform(*anatomy.axis_scale, size=3)
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(rng.uniform(*anatomy.rotation_deg, size=3))):
        one = np.eye(3)
        a, b = [(1, 2), (2, 0), (0, 1)][axis]
        one[[a, b], [a, b]] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        turn = turn @ one
    return np.diag(1 / scale) @ turn, rng.uniform(*anatomy.shift_mm, size=3)


def _draw_lesion(
    subject: Subject, config: PhantomConfig, atlas: Atlas, layout: Layout, seed: int
) -> tuple[phantom_lesion.Shape, float]:
    """Draw a lesion in the subject's own millimetres; return it with its longest diameter."""
    rng = subject.rng(seed, "lesion")
    diameter = phantom_lesion.draw_diameter(rng, config)
    place = phantom_lesion.draw_place(rng, config, atlas, diameter)
    matrix, shift = _linear_map(subject.rng(seed, "anatomy"), config)
    centre = np.linalg.solve(matrix, place - np.array(layout.template_mm)) + shift
    return phantom_lesion.draw_shape(rng, config, diameter, centre), diameter


def _warp(
    subject: Subject,
    config: PhantomConfig,
    atlas: Atlas,
    layout: Layout,
    seed: int,
    shape: phantom_lesion.Shape | None,
    diameter_mm: float,
) -> Tissue:
    """Warp the template to the subject and sharpen its averaged tissues into one person's."""
    matrix, shift = _linear_map(subject.rng(seed, "anatomy"), config)
    rng = subject.rng(seed, "warp")
    anatomy = config.anatomy
    axes = layout.axes_mm()
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    if shape is not None:
        push = subject.rng(seed, "mass effect").uniform(*config.lesion.mass_effect)
        points = phantom_lesion.push_outwards(points, shape, diameter_mm / 2, push)
    points -= shift.reshape(3, 1, 1, 1).astype(np.float32)
    points = np.tensordot(matrix.astype(np.float32), points, axes=1)
    points += np.array(layout.template_mm, np.float32).reshape(3, 1, 1, 1)
    _displace(points, rng, axes, 60.0, rng.uniform(*anatomy.broad_warp_mm))
    # The skull follows the broad warp alone: gyri are one's own, but no skull is wavy.
    depth = atlas.head.sample("depth", points, 60.0)
    skull_points = points.copy()
    _displace(points, rng, axes, 14.0, rng.uniform(*anatomy.fine_warp_mm))

    grey = atlas.brain.sample("grey", points, 0.0)
    white = atlas.brain.sample("white", points, 0.0)
    inside = atlas.brain.sample("inside", points, 0.0)
    inside += np.float32(0.06) * smooth_field(rng, axes, 8.0)
    inside[depth > 1.0] = 0

    solid = grey + white
    white /= np.maximum(solid, 0.05)
    # Averaging many brains blurred their folds away: sheets of a random field's zero level cut new
    # ones into the cortex, fluid flanked by grey matter, with white matter between them.
    fold_mm = FOLD_KNOT_MM * 0.8 * np.abs(smooth_field(rng, axes, FOLD_KNOT_MM))
    foldable = atlas.brain.sample("cortex", points, 0.0) * np.float32(rng.uniform(*anatomy.folding))
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
    axes: tuple[np.ndarray, np.ndarray, np.ndarray],
    knot_mm: float,
    amplitude_mm: float,
) -> None:
    """Shift points of shape (3, …) by a smooth random field of that standard deviation."""
    for axis in range(3):
        points[axis] += np.float32(amplitude_mm) * smooth_field(rng, axes, knot_mm)


def _brain_contrast(tissue: Tissue, sequence: Sequence, rng: np.random.Generator) -> np.ndarray:
    """Turn tissue fractions into intensity, white matter = 1."""
    grey, csf = rng.uniform(*sequence.grey), rng.uniform(*sequence.csf)
    image = csf + (grey - csf) * tissue.solid + (1 - grey) * tissue.white
    image *= 1 + 0.02 * smooth_field(rng, tissue.axes_mm, 6.0)
    # Vessels run in the sulci: the upper tail of a fine field, where there is fluid.
    density = rng.uniform(*sequence.vessel_density)
    level = float(norm.isf(max(density, 1e-6)))
    vessels = ramp(smooth_field(rng, tissue.axes_mm, 4.0) - level, 0.5) * (tissue.solid < 0.6)
    brightness = rng.uniform(*sequence.vessel_intensity)
    return image + vessels * np.maximum(brightness - image, 0)


def _add_head(
    brain: np.ndarray,
    tissue: Tissue,
    config: PhantomConfig,
    atlas: Atlas,
    rng: np.random.Generator,
) -> np.ndarray:
    """Wrap the brain in fluid, skull and scalp, and put face and neck below.

    Layer after layer from the inside out, each blended over the last where its own begins.
    """
    look, depth, axes = config.head, tissue.depth, tissue.axes_mm

    def varying(range_mm: tuple[float, float], share: float) -> np.ndarray:
        return rng.uniform(*range_mm) * (1 + share * smooth_field(rng, axes, 45.0)).clip(0.5, 1.5)

    edge = 1.5
    fluid, skull, scalp = (
        varying(look.csf_mm, 0.2),
        varying(look.skull_mm, 0.15),
        varying(look.scalp_mm, 0.15),
    )
    bone, marrow, fat = (rng.uniform(*r) for r in (look.bone, look.diploe, look.fat))
    muscle, skin = rng.uniform(*look.muscle), rng.uniform(*look.skin)
    face = atlas.head.sample("face", tissue.points_mni, 60.0)
    lower = atlas.head.sample("lower", tissue.points_mni, 0.0)
    temporalis = atlas.head.sample("temporalis", tissue.points_mni, 0.0)
    height = tissue.points_mni[2]
    patches = smooth_field(rng, axes, 9.0)

    image = brain
    across = (depth - fluid) / skull
    diploe = marrow * np.exp(-(((across - 0.5) / 0.2) ** 2)) * (0.7 + 0.3 * patches).clip(0, 1.3)
    # The base of the skull is thin, uneven bone, open where the spinal cord leaves.
    vault = ramp(height - BASE_Z + 8 * patches, 20.0)
    opening = atlas.head.sample("opening", tissue.points_mni, 0.0)
    image = _over(image, bone + diploe * (0.3 + 0.7 * vault), depth - fluid, edge)
    outer_table = fluid + skull * (0.55 + 0.45 * vault) * (1 - opening)
    strands = smooth_field(rng, axes, 5.0)
    soft = fat * (1 + 0.12 * patches + 0.15 * strands)
    image = _over(image, soft, depth - outer_table, edge)
    muscle_mm = 7.0 * temporalis
    image += (
        (muscle - image)
        * ramp(depth - outer_table, edge)
        * ramp(outer_table + muscle_mm - depth, edge)
    )
    surface = np.minimum(depth - (outer_table + muscle_mm + scalp), face)
    buried = ramp(-face - 5.0, 4.0) * ramp(depth - outer_table, edge)
    image += (lower * (1 + 0.08 * patches + 0.12 * strands) - image) * buried
    image = _over(image, skin, surface + 1.8, 1.5)
    return _over(image, 0.0, surface, edge)


def _over(image: np.ndarray, layer, distance_mm: np.ndarray, edge_mm: float) -> np.ndarray:
    """Lay `layer` over `image` where `distance_mm` is positive, with a soft edge."""
    return image + (layer - image) * ramp(distance_mm, edge_mm)


def _acquire(
    image: np.ndarray,
    axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray],
    layout: Layout,
    ranges: Acquisition,
    rng: np.random.Generator,
) -> np.ndarray:
    """Add what the scanner adds: blur, shading, Rician noise, an arbitrary scale; int16."""
    blur = rng.uniform(*ranges.blur_mm)
    image = ndimage.gaussian_filter(image, [blur / step for step in layout.spacing_mm])
    image = np.maximum(image, 0) ** np.float32(rng.uniform(*ranges.gamma))
    shading = np.float32(rng.uniform(*ranges.bias)) * smooth_field(rng, axes_mm, 80.0)
    image *= np.exp(shading)
    noise = np.float32(rng.uniform(*ranges.noise))
    real = image + noise * rng.standard_normal(image.shape, dtype=np.float32)
    imaginary = noise * rng.standard_normal(image.shape, dtype=np.float32)
    magnitude = np.hypot(real, imaginary)
    return np.clip(magnitude * rng.uniform(*ranges.white_value), 0, 32767).astype(np.int16)


def _nifti(volume_RAS: np.ndarray, layout: Layout) -> Nifti1Image:
    """Store a volume as its data set does, with both affines set to scanner coordinates."""
    affine = np.diag([*layout.spacing_mm, 1.0])
    half = np.array(layout.spacing_mm) * (np.array(layout.voxels) - 1) / 2
    affine[:3, 3] = np.array(layout.world_mm) - half
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(layout.orientation))
    stored = np.ascontiguousarray(apply_orientation(volume_RAS, turn))
    affine = affine @ inv_ornt_aff(turn, volume_RAS.shape)
    image = Nifti1Image(stored, affine)
    image.set_data_dtype(stored.dtype)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    return image
