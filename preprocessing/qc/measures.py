"""The numbers of quality control: what each means, and how it is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.brain import Mask, bounding_box, faces
from preprocessing.chain import Processed
from preprocessing.nifti import Image
from preprocessing.qc.noise import quality, sample

# Percentile of the values on the scan's six faces that stands for the background: lower than the
# median, since a tightly cropped scan has head on some of them.
BACKGROUND_PERCENTILE = 5


@dataclass(frozen=True)
class Measure:
    """One column of `qc.csv`.

    Attributes:
        digits: after the point, on the page.
        unit: on the page, empty for a ratio.
        is_of_head: whether it tells of the brain and how it was scanned, whatever the field around
            it and the rest of the cohort; new scans are compared with training scans by these.
    """

    name: str
    meaning: str
    unit: str = ""
    digits: int = 0
    is_of_head: bool = True


# Of every volume.
MEASURES = (
    Measure("brain_ml", "volume of the brain mask", "ml"),
    Measure("volume_z", "the same against its source, in robust standard deviations", "", 1, False),
    Measure("right_mm", "extent of the mask from left to right", "mm"),
    Measure("anterior_mm", "extent of the mask from back to front", "mm"),
    Measure("superior_mm", "extent of the mask from bottom to top", "mm"),
    Measure("border_cm2", "area of the mask on the faces of the scan", "cm²", 1, False),
    Measure("offset_mm", "distance of the brain's centre from the scan's", "mm", 0, False),
    Measure("snr", "signal to noise in the brain, of the scan as found", digits=1),
    Measure("cnr", "contrast of its two main tissues to noise, of the scan as found", digits=1),
    Measure("clipped", "share of the brain that the percentiles set to 0 or 1", "%", 1),
    Measure("mean", "mean of the stored brain", digits=2),
    Measure("sd", "standard deviation of the stored brain", digits=2),
    Measure("p05", "5th percentile of the stored brain", digits=2),
    Measure("median", "median of the stored brain", digits=2),
    Measure("p95", "95th percentile of the stored brain", digits=2),
)
# Of each contrast where there are several; a column's name ends in the contrast's.
BY_CONTRAST = (
    Measure("snr_", "signal to noise of the stored channel", digits=1),
    Measure("cnr_", "contrast to noise of the stored channel", digits=1),
    Measure(
        "nmi_before_", "normalised mutual information with the reference as found", "", 3, False
    ),
    Measure("nmi_after_", "normalised mutual information after registration", "", 3, False),
    Measure("shift_mm_", "how far registration moved the contrast", "mm", 1, False),
    Measure("far_apart_", "distance of its centre from the reference's, where far", "mm", 0, False),
    Measure("clipped_", "share of the brain that the percentiles set to 0 or 1", "%", 1),
)
PERCENT = "clipped"  # measures whose names begin so are stored as a share, shown in per cent


def measure(made: Processed, percentiles: tuple[float, float]) -> dict[str, Any]:
    """The numbers of one volume: of the mask and the scan as found, and of the stored voxels.

    Args:
        percentiles: of the brain, that became 0 and 1.

    Returns:
        JSON values by the names of `MEASURES` (`volume_z` apart, which needs the cohort) and
        `BY_CONTRAST`; beside them `oriented`, whether the header says where left is, `reference`,
        the contrast that was found first, and `missing`, those that were not.
    """
    image, brain = made.reference, made.brain
    first, reference_DHW = next(iter(made.channels.items()))
    numbers = {
        **_of_mask(image, brain),
        **_of_scan(image, brain, percentiles),
        **_of_channel(reference_DHW),
        **{name: float(value) for name, value in made.facts.items()},
    }
    if len(made.contrasts) > 1:
        for name, channel_DHW in made.channels.items():
            numbers |= {f"{key}_{name}": value for key, value in _of_stored(channel_DHW).items()}
    rounded = {
        name: None if value is None else round(float(value), 3) for name, value in numbers.items()
    }
    return {
        **rounded,
        "oriented": image.oriented,
        "reference": first,
        "missing": list(made.missing),
    }


def columns(measures: Sequence[Mapping[str, Any]]) -> list[Measure]:
    """Every measure that some volume of the cohort has, in a fixed order."""
    known = {measure.name for measure in MEASURES}
    names = dict.fromkeys(
        name
        for numbers in measures
        for name, value in numbers.items()
        if isinstance(value, float | int) and not isinstance(value, bool)
    )
    return [*MEASURES, *_by_contrast([name for name in names if name not in known])]


def _by_contrast(names: Sequence[str]) -> Iterator[Measure]:
    """Those of `BY_CONTRAST` first; then facts of the chain that no record here describes."""
    described = set()
    for kind in BY_CONTRAST:
        for name in names:
            if name.startswith(kind.name):
                described.add(name)
                contrast = name.removeprefix(kind.name)
                yield Measure(name, f"{contrast}: {kind.meaning}", kind.unit, kind.digits)
    for name in names:
        if name not in described:
            yield Measure(name, name.replace("_", " "), digits=3, is_of_head=False)


def _of_mask(image: Image, brain: Mask) -> dict[str, float]:
    spacing = image.spacing
    box = bounding_box(brain)
    extents = np.array([part.stop - part.start for part in box]) * spacing
    # Which stored axis runs along right, anterior, superior: the one with the largest share.
    along = np.abs(image.affine[:3, :3] / spacing).argmax(axis=1)
    middle = [(part.start + part.stop - 1) / 2 for part in box]
    offset = (np.array(middle) - (np.array(brain.shape) - 1) / 2) * spacing
    return {
        "brain_ml": np.count_nonzero(brain) * np.prod(spacing) / 1000,
        "right_mm": extents[along[0]],
        "anterior_mm": extents[along[1]],
        "superior_mm": extents[along[2]],
        "border_cm2": _border_cm2(brain, spacing),
        "offset_mm": float(np.linalg.norm(offset)),
    }


def _of_scan(
    image: Image, brain: Mask, percentiles: tuple[float, float]
) -> dict[str, float | None]:
    """Noise and clipping of the scan as found."""
    box = bounding_box(brain, 1)
    # In the order of memory, which for NIfTI begins with the last axis: several times faster.
    values_KJI = np.ascontiguousarray(image.values(box).T)
    brain_KJI = np.ascontiguousarray(brain[box].T)
    inside = sample(values_KJI[brain_KJI])
    low, high = np.percentile(inside, percentiles)
    found = quality(values_KJI, brain_KJI, _background(image))
    return {
        "snr": found.snr,
        "cnr": found.cnr,
        "clipped": np.count_nonzero((inside <= low) | (inside >= high)) / inside.size,
    }


def _of_channel(channel_DHW: NDArray[np.float16]) -> dict[str, float]:
    inside = channel_DHW[channel_DHW > 0].astype(np.float32)
    p05, median, p95 = np.percentile(inside, [5, 50, 95])
    return {
        "mean": float(inside.mean()),
        "sd": float(inside.std()),
        "p05": p05,
        "median": median,
        "p95": p95,
    }


def _of_stored(channel_DHW: NDArray[np.float16]) -> dict[str, float | None]:
    """Noise of a stored channel, as far as interpolation has left it."""
    brain = channel_DHW > 0
    if not brain.any():
        return {"snr": None, "cnr": None}
    box = bounding_box(brain, 1)
    found = quality(channel_DHW[box].astype(np.float32), brain[box], 0.0)
    return {"snr": found.snr, "cnr": found.cnr}


def _background(image: Image) -> float:
    edges = np.concatenate([face.ravel() for face in faces(image.data)])
    stored = np.percentile(edges, BACKGROUND_PERCENTILE if image.slope > 0 else 95)
    return float(stored) * image.slope + image.inter


def _border_cm2(brain: Mask, spacing: NDArray[np.float64]) -> float:
    area = 0.0
    for axis in range(3):
        voxel_cm2 = np.prod(np.delete(spacing, axis)) / 100
        area += voxel_cm2 * sum(map(np.count_nonzero, faces(brain)[2 * axis : 2 * axis + 2]))
    return float(area)
