"""One phantom, from its anatomy to the stored voxels."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from nibabel import Nifti1Image
from scipy import ndimage

from preprocessing.phantom.anatomy import brain_contrast, draw_placement, warp
from preprocessing.phantom.atlas import Atlas
from preprocessing.phantom.config import Acquisition, PhantomConfig, Range
from preprocessing.phantom.fields import Axes, smooth_field
from preprocessing.phantom.head import add_head
from preprocessing.phantom.layout import Layout, to_nifti
from preprocessing.phantom.lesion import draw_lesion, paint_high_grade, paint_low_grade
from preprocessing.phantom.plan import Subject


@dataclass(frozen=True)
class Phantom:
    """A finished phantom.

    `image` is int16 as the data set stores it; `mask` (uint8, same grid) is above 0 in the brain,
    with the lesion's parts as in `phantom_lesion`.
    """

    image: Nifti1Image
    mask: Nifti1Image


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
    axes = layout.axes_mm()
    placement = draw_placement(subject.rng(seed, "placement"), config.anatomy, layout)
    lesion = None
    if tumour:
        rng = subject.rng(seed, "lesion")
        lesion = draw_lesion(rng, config.lesion, atlas, placement.to_subject)
    tissue = warp(subject.rng(seed, "warp"), config.anatomy, atlas, axes, placement, lesion)
    sequence = config.t1ce if tumour else config.t1
    image = brain_contrast(tissue, sequence, subject.rng(seed, "contrast"))
    labels = (tissue.inside > 0.5).astype(np.uint8)

    if lesion is not None:
        rng = subject.rng(seed, "look")
        if subject.label == "LGG":
            paint_low_grade(image, labels, lesion, axes, config.lgg, rng)
        else:
            paint_high_grade(image, labels, lesion, axes, tissue.white, config.hgg, rng)
    else:
        image = add_head(image, tissue, config.head, atlas, subject.rng(seed, "head"))
    scanner = _scanner(config.acquisition, subject.centre)
    stored = _acquire(image, axes, layout, scanner, subject.rng(seed, "scanner"))
    if tumour:
        stored[labels == 0] = 0
    return Phantom(to_nifti(stored, layout), to_nifti(labels, layout))


def _scanner(ranges: Acquisition, centre: str) -> Acquisition:
    """Narrow the acquisition ranges around a point that belongs to the centre's name."""
    rng = np.random.default_rng(zlib.crc32(centre.encode()))

    def narrow(drawn: Range) -> Range:
        low, high = drawn
        own = rng.uniform(low, high)
        return low + ranges.signature * (own - low), high + ranges.signature * (own - high)

    return replace(
        ranges,
        bias=narrow(ranges.bias),
        noise=narrow(ranges.noise),
        blur_mm=narrow(ranges.blur_mm),
        gamma=narrow(ranges.gamma),
    )


def _acquire(
    image: np.ndarray,
    axes_mm: Axes,
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
