"""Which voxels are brain: a given mask, what a stripped scan left, or brain extraction.

Extraction is the slow step (seconds a head), so its masks are kept by themselves, one file for each
scan and recipe: another voxel size or field never extracts a brain again.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
import torchio as tio
from numpy.typing import NDArray
from scipy import ndimage

from preprocessing.nifti import Image, ScanError, parse, read_bytes
from stfmri.study.errors import UserError
from stfmri.study.files import replacing

Mask = NDArray[np.bool_]

# A brain spans at most 150 mm from its vertex down; neck and shoulders below would
# draw BET's starting sphere, a centre of mass, out of the head.
HEAD_MM = 150.0
# Part of a stripped scan's range of values around the background that is background, too.
BACKGROUND = 1e-3
# Part of the largest piece of a stripped brain that another piece must have to belong to it.
PIECE = 0.05
# Voxels on which the BET port works: those on which it was measured, whatever the scan's own; its
# surface has a vertex every 4 mm.
BET_MM = 2.0
# FSL's own, by preference: write a mask, no stripped image; -R re-centres against the neck, which
# is the script's doing and unknown to bet2 itself.
FSL_CALLS = {"bet": ("-m", "-n", "-R"), "bet2": ("-m", "-n")}
FSL_TIMEOUT_S = 1800


def require(method: str) -> None:
    """Check that brains can be extracted here.

    Raises:
        UserError: where FSL is asked for and not on the PATH.
    """
    if method == "fsl" and not _fsl_command():
        raise UserError(
            "preprocessing.skullstrip=fsl needs FSL's bet or bet2 on the PATH; load its module, or "
            "choose preprocessing.skullstrip=brainextractor"
        )


def recipe(method: str) -> str:
    """The back end and everything that its result depends on; part of the mask's key."""
    if method == "fsl":
        # The same on a node without FSL: it may publish what others have built.
        return f"fsl {FSL_CALLS}"
    return f"brainextractor {version('brainextractor')} head={HEAD_MM:g} voxel={BET_MM:g}"


def find_brain(
    image: Image, content_sha256: str, mask: Path | None, stripped: bool, method: str, masks: Path
) -> Mask:
    """The scan's brain on its own grid: from `mask`, from its background, or by extraction.

    Args:
        content_sha256: hash of the scan's file, by which an extracted mask is kept.
        method: `brainextractor` or `fsl`, used where the scan is neither stripped nor masked.
        masks: the folder of extracted masks.

    Raises:
        ScanError: where there is no brain to be found.
    """
    if mask is not None:
        return read_mask(mask, image)
    if stripped:
        return stripped_brain(image)
    key = hashlib.sha256(f"{content_sha256} {recipe(method)}".encode()).hexdigest()[:32]
    kept = masks / f"{key}.nii.gz"
    if kept.is_file():
        with contextlib.suppress(ScanError):  # a damaged mask is made again
            return read_mask(kept, image)
    brain = brain_mask(image, method)
    written = nib.Nifti1Image(brain.astype(np.uint8), image.affine)
    with replacing(kept) as temporary:
        # Level 1: a mask is long runs, and a higher level costs more time than it saves space.
        temporary.write_bytes(gzip.compress(written.to_bytes(), 1, mtime=0))
    return brain


def brain_mask(image: Image, method: str) -> Mask:
    """Extract the brain from a whole head.

    Returns:
        bool, on the grid of `image.data`; one connected piece.

    Raises:
        ScanError: where the back end finds none.
    """
    back_ends: dict[str, Callable[[Image], Mask]] = {"brainextractor": _bet_port, "fsl": _fsl}
    brain = back_ends[method](image)
    if not brain.any():
        raise ScanError(f"brain extraction ({method}) found no brain")
    return brain


def read_mask(path: Path, image: Image) -> Mask:
    """A mask file's voxels above 0, which must lie on the scan's own grid."""
    try:
        mask = parse(read_bytes(path))
    except ScanError as error:
        raise ScanError(f"mask {path.name}: {error}") from error
    if mask.data.shape != image.data.shape:
        raise ScanError(
            f"mask {path.name} has {mask.data.shape} voxels, the scan {image.data.shape}"
        )
    ends = np.array([[0, 0, 0, 1], [*image.data.shape, 1]])
    gap = np.abs((mask.affine - image.affine) @ ends.T).max()
    if gap > image.spacing.min() / 2:
        raise ScanError(f"mask {path.name} lies up to {gap:.1f} mm off the scan's grid")
    brain = mask.values() > 0
    if not brain.any():
        raise ScanError(f"mask {path.name} is empty")
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


def largest_piece(mask: Mask) -> Mask:
    """The largest face-connected component, with every enclosed hole filled."""
    if not mask.any():
        return mask
    box = bounding_box(mask)
    labels, count = ndimage.label(mask[box])
    piece = labels == np.bincount(labels.ravel())[1:].argmax() + 1 if count > 1 else mask[box]
    result = np.zeros_like(mask)
    result[box] = ndimage.binary_fill_holes(piece)
    return result


def faces(data: NDArray[Any]) -> list[NDArray[Any]]:
    """The six outermost planes of a volume, two for each axis, as views."""
    return [np.moveaxis(data, axis, 0)[end] for axis in range(3) for end in (0, -1)]


def bounding_box(mask: Mask, margin: int = 0) -> tuple[slice, ...]:
    """The smallest box around the mask, grown by `margin` voxels within the volume."""
    box = []
    for axis, size in enumerate(mask.shape):
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        box.append(slice(max(inside[0] - margin, 0), min(inside[-1] + 1 + margin, size)))
    return tuple(box)


def _bet_port(image: Image) -> Mask:
    """The BET port of PyPI: on canonical axes and `BET_MM` voxels, cropped to the head."""
    from preprocessing import bet  # numba compiles at import: only where it is needed

    whole = tio.ScalarImage(tensor=torch.from_numpy(image.values()[None]), affine=image.affine)
    small = tio.Compose([tio.ToCanonical(copy=False), tio.Resample(BET_MM)])(whole)
    head_WHD = small.numpy()[0]
    floor = _floor(head_WHD)
    found_WHD = np.zeros(head_WHD.shape, np.float32)
    try:
        found_WHD[:, :, floor:] = bet.extract(head_WHD[:, :, floor:], BET_MM)
    except (ArithmeticError, IndexError, ValueError) as error:
        raise ScanError(f"brain extraction (brainextractor) failed: {error}") from error
    found = tio.ScalarImage(tensor=torch.from_numpy(found_WHD[None]), affine=small.affine)
    back = tio.Resample((image.data.shape, image.affine))(found)
    return largest_piece(back.numpy()[0] > 0.5)


def _floor(head_WHD: NDArray[np.float32]) -> int:
    """The lowest axial slice within `HEAD_MM` of the vertex.

    The vertex is the highest slice of which a hundredth stands out from the background: a tenth of
    the way from the 2nd to the 98th percentile, BET's own threshold.
    """
    low, high = np.percentile(head_WHD, [2, 98])
    standing_out = (head_WHD > low + 0.1 * (high - low)).mean(axis=(0, 1)) > 0.01
    vertex = np.flatnonzero(standing_out)[-1] + 1 if standing_out.any() else head_WHD.shape[2]
    return max(0, round(vertex - HEAD_MM / BET_MM))


def _fsl_command() -> tuple[str, ...]:
    """FSL's command and its flags, empty where FSL is not on the PATH."""
    found = [(name, *flags) for name, flags in FSL_CALLS.items() if shutil.which(name)]
    return found[0] if found else ()


def _fsl(image: Image) -> Mask:
    require("fsl")
    command, *flags = _fsl_command()
    with tempfile.TemporaryDirectory() as folder:
        head, brain = Path(folder, "head.nii.gz"), Path(folder, "brain")
        nib.save(nib.Nifti1Image(image.values(), image.affine), head)
        try:
            subprocess.run(
                [command, str(head), str(brain), *flags],
                check=True,
                capture_output=True,
                text=True,
                timeout=FSL_TIMEOUT_S,
                env={**os.environ, "FSLOUTPUTTYPE": "NIFTI_GZ"},
            )
        except subprocess.CalledProcessError as error:
            said = (error.stderr or error.stdout or f"exit status {error.returncode}").split("\n")
            raise ScanError(f"brain extraction (fsl) failed: {said[0]}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ScanError(f"brain extraction (fsl) failed: {error}") from error
        return read_mask(Path(folder, "brain_mask.nii.gz"), image)
