"""Whether a file holds a scan of a head or of a brain, before anything is made of it.

A network answers whatever it is given. Label images, masks, whole heads that are said to be
brain-extracted and brains that are said to be heads are refused here, by their values alone.

Measured on 96 heads of IXI (8 bits), four contrasts of two gliomas, Colin27 and one native glioma:
at least 127 different values, of which at most 17 % are equal to their neighbour. Three
parcellations of 149 labels: 76 % and more.
"""

from __future__ import annotations

import numpy as np

from preprocessing.brain import stripped_brain
from preprocessing.cohorts.scan import Scan
from preprocessing.cohorts.survey import MOST_BRAIN_L
from preprocessing.nifti import Image, ScanError

FEWEST_VALUES = 32
MOST_FLAT = 0.65  # of neighbours apart from the background, those that are equal
# Of a brain's volume: newborn and atrophied brains lie within, a mask of something else does not.
POSSIBLE_ML = (300.0, 2500.0)
# Beyond the training scans' own volumes, where those lie outside.
ROOM = 1.25


def require_scan(image: Image) -> None:
    """Refuse what is no scan: label images, masks, images of a few values.

    Raises:
        ScanError: saying what it looks like.
    """
    values, counts = np.unique(_thinned(image.data), return_counts=True)
    if len(values) == 2:
        raise ScanError("a binary mask is no scan: it holds two values")
    if len(values) < FEWEST_VALUES:
        raise ScanError(
            f"{len(values)} different values are a label image's, not a scan's (at least "
            f"{FEWEST_VALUES})"
        )
    whole = bool(np.all(np.mod(values, 1) == 0))
    flat = _flat_share(image, values[counts.argmax()]) if whole else 0.0
    if flat > MOST_FLAT:
        raise ScanError(
            f"a label image is no scan: {flat:.0%} of its neighbouring voxels have one value"
        )


def require_told_apart(image: Image, scan: Scan) -> None:
    """Refuse a brain that is taken for a head, and a head that is taken for a brain.

    Args:
        image: the first contrast.
        scan: what is said of it; with a mask of its own it may be either.

    Raises:
        ScanError: saying what to do.
    """
    if scan.mask is not None:
        return
    litres = float(np.count_nonzero(stripped_brain(image)) * np.prod(image.spacing)) / 1e6
    if scan.stripped and litres > MOST_BRAIN_L:
        raise ScanError(
            f"{litres:.1f} l are not background, more than any brain: this looks like a whole "
            "head, and is said to be brain-extracted (--stripped, or the column stripped)"
        )
    if not scan.stripped and litres <= MOST_BRAIN_L:
        raise ScanError(
            f"only {litres:.1f} l are not background: it looks brain-extracted already; say so "
            "with --stripped (in a table with a column stripped)"
        )


def require_brain(brain_ml: float, usual: tuple[float, float] | None = None) -> None:
    """Refuse a volume that no brain has.

    Args:
        usual: least and largest volume of the scans that a network was trained on, which may be
            of other heads than of adults.

    Raises:
        ScanError: naming the volume.
    """
    low, high = POSSIBLE_ML
    if usual is not None:
        low, high = min(low, usual[0] / ROOM), max(high, usual[1] * ROOM)
    if not low <= brain_ml <= high:
        raise ScanError(
            f"a brain of {brain_ml:.0f} ml is none (expected {low:.0f} to {high:.0f} ml); look at "
            "the scan, its voxel size and its mask"
        )


def _thinned(data: np.ndarray) -> np.ndarray:
    """Every other voxel each way of a large image: what has few values shows it there as well."""
    step = 2 if data.size > 500_000 else 1
    return data[::step, ::step, ::step]


def _flat_share(image: Image, background: np.generic) -> float:
    """Share of neighbours along an axis, neither of them background, that have one value."""
    data = image.data
    inside = data != background
    equal = total = 0
    for axis in range(3):
        values, kept = np.moveaxis(data, axis, 0), np.moveaxis(inside, axis, 0)
        both = kept[1:] & kept[:-1]
        total += int(np.count_nonzero(both))
        equal += int(np.count_nonzero(both & (values[1:] == values[:-1])))
    return equal / max(total, 1)
