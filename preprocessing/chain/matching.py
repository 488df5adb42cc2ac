"""Find the map between two images that makes them most alike: SimpleITK's registration.

Worlds are RAS millimetres throughout. A result depends on the two images alone: their axes are
turned to canonical order first, and there is one thread, a fixed seed and no clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import SimpleITK
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy import ndimage

from preprocessing.brain import Mask, bounding_box
from preprocessing.chain.geometry import Matrix, boxed_affine, inverse
from preprocessing.nifti import Image

# Voxels are averaged to at least this size.
WORK_MM = 2.0
# The fine stage sees the brain and this rim: the skull of a head, the edge of a stripped brain.
RIM_MM = 8.0
# Bins and random seed of Mattes mutual information.
BINS, SEED = 32, 1
# The optimiser's step shrinks by the relaxation at each turn of its direction. Halved each time, as
# ITK has it, it is spent on the shift before the rotation is found (2 mm off on a synthetic head).
ITERATIONS, RELAXATION, LEAST_STEP_MM = 150, 0.85, 0.005


@dataclass(frozen=True)
class Stage:
    """One stage of a registration.

    Attributes:
        smoothing_mm: standard deviation of the Gaussian at each step, from coarse to fine.
        samples: draws for the similarity measure.
        step_mm: the optimiser's first.
    """

    smoothing_mm: tuple[float, ...]
    samples: int
    step_mm: float


# The coarse stage compares whole heads, whose outlines pull them together from 30 mm away; the fine
# one compares brains. On the four native contrasts of glioma_raw, starts up to 20 mm and 10° apart
# end within 0.01 mm of one another, and four times the samples move the brain by 0.2 to 0.5 mm.
COARSE = Stage((8.0,), 5_000, 4.0)
FINE = Stage((3.0, 1.0), 15_000, 1.0)


def improve(
    transform: SimpleITK.Transform,
    fixed: SimpleITK.Image,
    moving: SimpleITK.Image,
    stage: Stage,
    mask: SimpleITK.Image | None = None,
) -> None:
    """Optimise the parameters of `transform` in place.

    Args:
        transform: from the world of `fixed` to that of `moving`.
        mask: where in `fixed` the images are compared; everywhere by default.
    """
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    if mask is not None:
        method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, stage.samples / fixed.GetNumberOfPixels()), SEED)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        stage.step_mm, LEAST_STEP_MM, ITERATIONS, RELAXATION, gradientMagnitudeTolerance=1e-6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    # Shrinking alike along all axes would leave thick slices too few: smoothing alone is coarse.
    method.SetShrinkFactorsPerLevel([1] * len(stage.smoothing_mm))
    method.SetSmoothingSigmasPerLevel(list(stage.smoothing_mm))
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, inPlace=True)
    with _one_thread():
        method.Execute(fixed, moving)


@contextmanager
def _one_thread() -> Iterator[None]:
    # The similarity measure makes threads of its own, whatever the method is told, and the order in
    # which they add up decides the last digits.
    process = SimpleITK.ProcessObject
    before = process.GetGlobalDefaultNumberOfThreads()
    process.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        process.SetGlobalDefaultNumberOfThreads(before)


def as_matrix(transform: SimpleITK.Transform) -> Matrix:
    """The 4 × 4 matrix of a linear transform."""
    corners = [np.array(transform.TransformPoint(point)) for point in np.eye(4)[:, :3].tolist()]
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack(corners[:3], axis=1) - corners[3][:, None]
    matrix[:3, 3] = corners[3]
    return matrix


def as_transform(matrix: Matrix) -> SimpleITK.AffineTransform:
    """The affine transform of a 4 × 4 matrix."""
    transform = SimpleITK.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform


def canonical(image: Image, mask: Mask) -> tuple[Image, Mask]:
    """A scan and a mask on its grid, with axes nearest to right, anterior, superior."""
    turn = nib.io_orientation(image.affine)
    affine = image.affine @ nib.orientations.inv_ornt_aff(turn, image.data.shape)
    # Headers hold float32: without the last digits a flipped scan is registered exactly alike.
    affine[:3, :3], affine[:3, 3] = affine[:3, :3].round(5), affine[:3, 3].round(3)
    turned = Image(
        nib.apply_orientation(image.data, turn), affine, image.slope, image.inter, image.oriented
    )
    return turned, nib.apply_orientation(mask, turn)


def working_image(image: Image, weight: Mask | None = None) -> SimpleITK.Image:
    """The whole scan on voxels of at least `WORK_MM`; 0 where `weight` is."""
    values = image.values()
    if weight is not None:
        values *= weight
    return as_itk(values, image.affine)


def brain_and_rim(image: Image, brain: Mask) -> tuple[SimpleITK.Image, SimpleITK.Image]:
    """The scan cropped to the brain and the rim around it, and a mask of the two."""
    box = bounding_box(brain, int(np.ceil(RIM_MM / image.spacing.min())))
    affine = boxed_affine(image.affine, box)
    inside = as_itk(brain[box].astype(np.float32), affine)
    outside_mm = ndimage.distance_transform_edt(
        SimpleITK.GetArrayViewFromImage(inside) <= 0.5, sampling=inside.GetSpacing()[::-1]
    )
    rim = SimpleITK.GetImageFromArray((outside_mm <= RIM_MM).astype(np.uint8))
    rim.CopyInformation(inside)
    return as_itk(image.values(box), affine), rim


def as_itk(values: NDArray[np.float32], affine: Matrix) -> SimpleITK.Image:
    """An image on voxels of at least `WORK_MM`, whose physical space is RAS millimetres.

    ITK names its axes left, posterior, superior, but nothing in it depends on that.
    """
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(values.T))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return SimpleITK.BinShrink(image, [max(1, int(WORK_MM / mm + 0.5)) for mm in spacing])


def brain_points(image: Image, brain: Mask, most: int = 5000) -> NDArray[np.float64]:
    """Some points of the brain, evenly drawn, in mm."""
    indices = np.flatnonzero(brain)
    chosen = indices[:: max(1, indices.size // most)]
    voxels = np.stack(np.unravel_index(chosen, brain.shape), axis=1)
    points: NDArray[np.float64] = apply_affine(image.affine, voxels)
    return points


def share_inside(points: NDArray[np.float64], affine: Matrix, shape: tuple[int, ...]) -> float:
    """The part of the points that lies in a grid's field."""
    indices = apply_affine(inverse(affine), points)
    within = (indices > -0.5) & (indices < np.array(shape) - 0.5)
    return float(within.all(axis=1).mean())
