"""Which voxels are brain: a given mask, what a stripped scan left, or brain extraction.

Extraction is the slow step (seconds a head), so its masks are kept by themselves, one file for each
scan and recipe: another voxel size or field never extracts a brain again.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from preprocessing.cohorts import Scan
from preprocessing.extraction import extractor_named
from preprocessing.masks import Mask, read_mask
from preprocessing.nifti import Image, ScanError
from stfmri.study.errors import UserError
from stfmri.study.files import replacing

# Part of a stripped scan's range of values around the background that is background, too.
BACKGROUND = 1e-3
# Part of the largest piece of a stripped brain that another piece must have to belong to it.
PIECE = 0.05


def require(name: str, scans: Iterable[Scan]) -> None:
    """Check that there is an extractor of that name and, where a scan needs it, that it can run.

    Raises:
        ConfigError: for a name that is in no record.
        UserError: where it cannot run here.
    """
    extractor = extractor_named(name)
    if any(scan.mask is None and not scan.stripped for scan in scans):
        lacking = extractor.available()
        if lacking:
            raise UserError(f"preprocessing.skullstrip={name} {lacking}")


def recipe(name: str) -> str:
    """The extractor and everything that its result depends on; part of the mask's key."""
    return extractor_named(name).recipe()


def find_brain(
    image: Image, content_sha256: str, mask: Path | None, stripped: bool, name: str, masks: Path
) -> Mask:
    """The scan's brain on its own grid: from `mask`, from its background, or by extraction.

    Args:
        content_sha256: hash of the scan's file, by which an extracted mask is kept.
        name: the extractor, used where the scan is neither stripped nor masked.
        masks: the folder of extracted masks.

    Raises:
        ScanError: where there is no brain to be found.
    """
    if mask is not None:
        return read_mask(mask, image)
    if stripped:
        return stripped_brain(image)
    key = hashlib.sha256(f"{content_sha256} {recipe(name)}".encode()).hexdigest()[:32]
    kept = masks / f"{key}.nii.gz"
    if kept.is_file():
        with contextlib.suppress(ScanError):  # a damaged mask is made again
            return read_mask(kept, image)
    brain = brain_mask(image, name)
    written = nib.Nifti1Image(brain.astype(np.uint8), image.affine)
    with replacing(kept) as temporary:
        # Level 1: a mask is long runs, and a higher level costs more time than it saves space.
        temporary.write_bytes(gzip.compress(written.to_bytes(), 1, mtime=0))
    return brain


def brain_mask(image: Image, name: str) -> Mask:
    """Extract the brain from a whole head, with the extractor of that name.

    Returns:
        bool, on the grid of `image.data`.

    Raises:
        ScanError: where the extractor fails or finds none.
    """
    try:
        brain = extractor_named(name).extract(image)
    except ScanError as error:
        raise ScanError(f"brain extraction ({name}) failed: {error}") from error
    if not brain.any():
        raise ScanError(f"brain extraction ({name}) found no brain")
    return brain


def stripped_brain(image: Image) -> Mask:
    """The brain of a stripped scan: what differs from the background, in large pieces.

    The background is the commonest value on the volume's faces, which need not be its minimum:
    registration leaves values below 0 inside the brain. It also leaves noise around 0 outside, so
    that values within `BACKGROUND` of the scan's range of it are background too.
    """
    data = image.data
    # A part of the scan shows its range as well; a single bright voxel must not decide it.
    low, high = np.percentile(data[::3, ::3, ::3].astype(np.float64), [0.5, 99.5])
    tolerance = BACKGROUND * float(high - low)
    outermost = np.concatenate([face.ravel() for face in faces(data)]).astype(np.float64)
    rounded = np.round(outermost / tolerance) if tolerance > 0 else outermost
    values, counts = np.unique(rounded, return_counts=True)
    background = np.median(outermost[rounded == values[counts.argmax()]])
    # Compared, not subtracted: stored numbers may be unsigned.
    brain = (data < background - tolerance) | (data > background + tolerance)
    return large_pieces(np.asarray(brain))


def large_pieces(mask: Mask) -> Mask:
    """The face-connected components of at least `PIECE` of the largest, enclosed holes filled.

    A stripped brain may be in several pieces: a gap of two voxels parts its hemispheres, and the
    cerebellum, some 10 % of it, may hang by nothing. Eyes, about 0.5 % each, and specks are less.
    """
    if not mask.any():
        return mask
    box = bounding_box(mask)
    labels, count = ndimage.label(mask[box])
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = (sizes >= PIECE * sizes.max())[labels] if count > 1 else mask[box]
    # A rim of background joins all that is outside; other background is a hole.
    outside, _ = ndimage.label(np.pad(~kept, 1, constant_values=True))
    result = np.zeros_like(mask)
    result[box] = (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return result


def faces(data: NDArray[Any]) -> list[NDArray[Any]]:
    """The six outermost planes of a volume, two for each axis, as views."""
    return [np.moveaxis(data, axis, 0)[end] for axis in range(3) for end in (0, -1)]


def bounding_box(mask: Mask, margin: int = 0) -> tuple[slice, ...]:
    """The smallest box around the mask, grown by `margin` voxels within the volume."""
    # Whole planes are joined first, those that lie together in memory: an order of magnitude faster
    # than to look at each row by itself.
    outer, *inner = np.argsort(mask.strides)[::-1]
    joined = np.expand_dims(mask.any(axis=outer), outer)
    box = [slice(0, size) for size in mask.shape]
    for axis in inner:
        others = tuple(other for other in range(3) if other != axis)
        box[axis] = _extent(np.asarray(joined.any(axis=others)))
    others = tuple(other for other in range(3) if other != outer)
    box[outer] = _extent(np.asarray(mask[tuple(box)].any(axis=others)))
    return tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, size))
        for part, size in zip(box, mask.shape, strict=True)
    )


def _extent(inside: NDArray[np.bool_]) -> slice:
    """From the first true value to the last."""
    found = np.flatnonzero(inside)
    return slice(int(found[0]), int(found[-1]) + 1)
