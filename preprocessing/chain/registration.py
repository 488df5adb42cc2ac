"""How the contrasts of a subject lie to one another.

A registration only finds a matrix; voxels are interpolated once, later, with all matrices in one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import SimpleITK
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from preprocessing.brain import Mask, bounding_box
from preprocessing.chain.geometry import Matrix, boxed_affine, centre_of_mass
from preprocessing.chain.matching import (
    COARSE,
    FINE,
    as_itk,
    as_matrix,
    as_transform,
    brain_and_rim,
    brain_points,
    canonical,
    improve,
    share_inside,
    working_image,
)
from preprocessing.nifti import Image

# Two grids are one where no corner of theirs is further apart, in voxels.
SAME_GRID = 0.01
# Of stripped scans, which were brought to one grid by whoever stripped them, as headers round.
ROUNDED = 0.1
# What a registration must add to the normalised mutual information (above 1) of two scans on one
# grid: interpolating one of them adds a little by itself.
LEAST_GAIN = 0.05
# Centres of two scans of one session are rarely further apart, and their fields mostly overlap.
FAR_MM, FAR_OVERLAP = 100.0, 0.5
# Part of the brain in a contrast's field, below which its header says nothing of where it is.
NO_OVERLAP = 0.1
# Bins of the normalised mutual information that is reported, of each contrast.
NMI_BINS = 64


@dataclass(frozen=True)
class Alignment:
    """How a contrast lies to the reference.

    Attributes:
        matrix: the reference's world → the contrast's world, in mm; the identity is what the two
            headers say.
        on_grid: whether the contrast's voxels are the reference's own.
        facts: numbers for quality control, by name.
    """

    matrix: Matrix
    on_grid: bool
    facts: dict[str, float] = field(default_factory=dict)


def align(
    reference: Image, brain: Mask, contrast: Image, name: str, *, stripped: bool
) -> Alignment:
    """Register a contrast rigidly to the reference, where that is needed.

    Stripped contrasts on one grid were registered by whoever stripped them. Native contrasts on one
    grid may differ by a movement of the head between them: they are registered, and left on their
    grid unless the images agree clearly better for it.

    Args:
        brain: on the reference's grid.
        name: of the contrast, for the names of the facts.
        stripped: whether the scans hold nothing but the brain.

    Returns:
        The alignment. Its facts are `far_apart_<name>` where the fields lie apart (the distance of
        their centres, in mm) and, of a contrast that was registered, `nmi_before_<name>` and
        `nmi_after_<name>` (normalised mutual information in the brain), `shift_mm_<name>` (by how
        much the brain was moved, the root mean square over it) and `kept_header_<name>` (1 where
        the result was no better than what the headers say, and is not used).
    """
    facts = _far_apart(reference, contrast, name)
    on_grid = same_grid(reference, contrast, ROUNDED if stripped else SAME_GRID)
    if reference is contrast or (on_grid and stripped):
        return Alignment(np.eye(4), True, facts)
    reference, brain = canonical(reference, brain)
    contrast, _ = canonical(contrast, np.zeros(contrast.data.shape, bool))
    moving = working_image(contrast)
    registered = _registered(reference, brain, contrast, moving)
    before, after = (
        _likeness(reference, brain, moving, matrix) for matrix in (np.eye(4), registered)
    )
    needed = (before - 1) * (LEAST_GAIN if on_grid else 0)
    moved = after > before + needed
    matrix = registered if moved else np.eye(4)
    facts |= {
        f"nmi_before_{name}": before,
        f"nmi_after_{name}": after if moved else before,
        f"shift_mm_{name}": _shift_mm(brain_points(reference, brain), matrix),
        f"kept_header_{name}": float(not moved),
    }
    return Alignment(matrix, on_grid and not moved, facts)


def same_grid(one: Image, other: Image, tolerance: float = SAME_GRID) -> bool:
    """Whether two scans have the same voxels in the same places."""
    if one.data.shape != other.data.shape:
        return False
    ends = [(0, size - 1) for size in one.data.shape]
    corners = np.stack(np.meshgrid(*ends), axis=-1).reshape(-1, 3)
    gaps = apply_affine(one.affine, corners) - apply_affine(other.affine, corners)
    return bool(np.linalg.norm(gaps, axis=1).max() < tolerance * one.spacing.min())


def normalised_mutual_information(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """(H(A) + H(B)) / H(A, B) of paired values (Studholme 1999): 1 unrelated, 2 one-to-one."""
    edges = []
    for values in (one, other):
        low, high = np.percentile(values, [0.5, 99.5])
        if low == high:
            return 1.0
        edges.append(np.linspace(low, high, NMI_BINS + 1))
    binned = [
        np.digitize(values, inner[1:-1]) for values, inner in zip((one, other), edges, strict=True)
    ]
    counts = np.bincount(binned[0] * NMI_BINS + binned[1], minlength=NMI_BINS**2)
    joint = counts.reshape(NMI_BINS, NMI_BINS) / one.size
    return (_entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))) / _entropy(joint.ravel())


def _registered(reference: Image, brain: Mask, contrast: Image, moving: SimpleITK.Image) -> Matrix:
    """The rigid map that makes the contrast most like the reference."""
    whole = working_image(reference)
    transform = SimpleITK.Euler3DTransform()
    transform.SetCenter(apply_affine(reference.affine, centre_of_mass(brain)).tolist())
    points = brain_points(reference, brain)
    if share_inside(points, contrast.affine, contrast.data.shape) < NO_OVERLAP:
        centred = SimpleITK.CenteredTransformInitializer(
            whole, moving, transform, SimpleITK.CenteredTransformInitializerFilter.MOMENTS
        )
        transform = SimpleITK.Euler3DTransform(centred)
    improve(transform, whole, moving, COARSE)
    fixed, rim = brain_and_rim(reference, brain)
    improve(transform, fixed, moving, FINE, rim)
    return as_matrix(transform)


def _likeness(reference: Image, brain: Mask, moving: SimpleITK.Image, matrix: Matrix) -> float:
    """Normalised mutual information of the two scans in the reference's brain."""
    box = bounding_box(brain)
    affine = boxed_affine(reference.affine, box)
    fixed = as_itk(reference.values(box), affine)
    inside = as_itk(brain[box].astype(np.float32), affine)
    moved = SimpleITK.Resample(moving, fixed, as_transform(matrix), SimpleITK.sitkLinear, 0.0)
    kept = SimpleITK.GetArrayViewFromImage(inside) > 0.5
    one, other = (SimpleITK.GetArrayViewFromImage(image)[kept] for image in (fixed, moved))
    return normalised_mutual_information(one, other)


def _entropy(shares: NDArray[np.float64]) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def _shift_mm(points: NDArray[np.float64], matrix: Matrix) -> float:
    gaps = apply_affine(matrix, points) - points
    return float(np.sqrt((gaps**2).sum(axis=1).mean()))


def _far_apart(reference: Image, contrast: Image, name: str) -> dict[str, float]:
    centres = [
        apply_affine(image.affine, (np.array(image.data.shape) - 1) / 2)
        for image in (reference, contrast)
    ]
    distance = float(np.linalg.norm(centres[0] - centres[1]))
    # Of the smaller field, which may lie in the larger one altogether.
    overlap = max(
        share_inside(_lattice(one), other.affine, other.data.shape)
        for one, other in ((reference, contrast), (contrast, reference))
    )
    far = distance > FAR_MM or overlap < FAR_OVERLAP
    return {f"far_apart_{name}": distance} if far else {}


def _lattice(image: Image, count: int = 12) -> NDArray[np.float64]:
    """Points that fill the image's field evenly, in mm."""
    axes = [(np.arange(count) + 0.5) / count * size - 0.5 for size in image.data.shape]
    indices = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3)
    points: NDArray[np.float64] = apply_affine(image.affine, indices)
    return points
