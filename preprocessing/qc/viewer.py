"""What the page's viewer shows of a subject: a script file of small NIfTI images.

A page that was opened from a disk may not read other files, but it may load scripts. So each
volume's views lie in `qc/<key>.js`, a call of the page's `showVolume` with images in base64. They
are small: voxels of some 2 mm, 32 shades, cropped to the brain and what is around it.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import asdict, dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from preprocessing.brain import Mask, bounding_box
from preprocessing.chain import Processed
from preprocessing.nifti import Image
from preprocessing.qc.noise import sample

VOXEL_MM = 2.0  # scans as found are averaged to about this size
AROUND_MM = 12.0  # of the scan, shown around the brain: a mask that cuts it off must be seen to
STEP = 8  # of 256 shades; noise hides that there are 32, and the file is half as large
GZIP = 31  # zlib's word for the largest window, in gzip's wrapping


@dataclass(frozen=True)
class View:
    """One image of a subject, and the brain's edge in it, as gzipped NIfTI in base64."""

    name: str
    image: str
    edge: str


def views_script(key: str, made: Processed) -> bytes:
    """The script that holds a volume's views; it names the volume by its key alone."""
    views = [asdict(view) for view in _views(made)]
    # ASCII, so that no page needs to know the encoding.
    return f"showVolume({json.dumps(key)}, {json.dumps(views)});\n".encode("ascii")


def _views(made: Processed) -> list[View]:
    several = len(made.contrasts) > 1
    first, reference_DHW = next(iter(made.channels.items()))
    reference = reference_DHW > 0
    views = [_found(f"{first}, as found" if several else "as found", made)]
    for name, channel_DHW in made.channels.items():
        title = f"{name}, stored" if several else "stored"
        views.append(_stored(title, channel_DHW, reference, made.affine))
    return views


def _found(name: str, made: Processed) -> View:
    """The reference scan around its brain, grey from the brain's 0.5th to 99.5th percentile."""
    image, brain = made.reference, made.brain
    spacing = image.spacing
    box = tuple(
        slice(max(part.start - reach, 0), part.stop + reach)
        for part, reach in zip(
            bounding_box(brain), np.ceil(AROUND_MM / spacing).astype(int), strict=True
        )
    )
    values, inside = image.values(box), brain[box].copy(order="K")
    # Transposed, since NIfTI's first axis is the innermost in memory: a third of the time.
    low, high = np.percentile(sample(values.T[inside.T]), [0.5, 99.5])
    count = np.maximum(np.round(VOXEL_MM / spacing), 1).astype(int)
    affine = _averaged_affine(image, box, count)
    shade = (_averaged(values, count) - low) / max(high - low, 1e-6)
    mask = _averaged(inside, count) >= 0.5
    return View(name, _nifti(_shades(shade), affine), _nifti(_edge(mask), affine))


def _stored(
    name: str,
    channel_DHW: NDArray[np.float16],
    brain_DHW: Mask,
    affine: NDArray[np.float64],
) -> View:
    """A channel of the stored volume; `brain_DHW` is the reference's."""
    box = bounding_box(brain_DHW | (channel_DHW > 0), 1)
    moved = affine.copy()
    moved[:3, 3] = nib.affines.apply_affine(affine, [part.start for part in reversed(box)])
    shades = _shades(channel_DHW[box].astype(np.float32)).transpose(2, 1, 0)
    edge = _edge(brain_DHW[box].transpose(2, 1, 0))
    return View(name, _nifti(shades, moved), _nifti(edge, moved))


def _edge(brain: Mask) -> NDArray[np.uint8]:
    """1 in the brain's outermost voxels: NiiVue draws any mask, but no outline in a colour."""
    inner = brain.copy(order="K")
    for axis in range(3):
        here, there = np.moveaxis(inner, axis, 0), np.moveaxis(brain, axis, 0)
        here[1:] &= there[:-1]
        here[:-1] &= there[1:]
        here[[0, -1]] = False  # beyond the image there is no brain
    return (brain & ~inner).view(np.uint8)


def _averaged(
    values: NDArray[np.float32] | Mask, count: NDArray[np.int_]
) -> NDArray[np.float32] | Mask:
    """Means of `count` voxels along each axis; what does not fill a block is left out."""
    if (count == 1).all():
        return values
    values = values.astype(np.float32)
    for axis, number in enumerate(count):
        blocks = values.shape[axis] // number
        parts = np.moveaxis(values, axis, 0)[: blocks * number]
        total = parts[::number].copy()
        for first in range(1, number):
            total += parts[first::number]
        values = np.moveaxis(total / number, 0, axis)
    return values


def _averaged_affine(
    image: Image, box: tuple[slice, ...], count: NDArray[np.int_]
) -> NDArray[np.float64]:
    """The affine of a box whose voxels were averaged: a block's centre is its voxel's."""
    affine = image.affine @ np.diag([*count.astype(float), 1.0])
    first = [part.start + (number - 1) / 2 for part, number in zip(box, count, strict=True)]
    affine[:3, 3] = nib.affines.apply_affine(image.affine, first)
    return affine


def _shades(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """0 … 1 as 32 of 256 shades."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8) & np.uint8(256 - STEP)


def _nifti(values: NDArray[np.uint8], affine: NDArray[np.float64]) -> str:
    content = nib.Nifti1Image(values, affine).to_bytes()
    # Noise hardly repeats itself: without a search for what does, the file is not larger (8 volumes
    # of scans and of phantoms: 0.93-1.01 of gzip's level 4) and takes a third of the time.
    packer = zlib.compressobj(wbits=GZIP, strategy=zlib.Z_RLE)
    return base64.b64encode(packer.compress(content) + packer.flush()).decode("ascii")
