"""One phantom: its anatomy, drawn once, and each of its contrasts to the stored voxels."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from nibabel import Nifti1Image
from scipy import ndimage

from preprocessing.phantom.anatomy import (
    BrainLook,
    Details,
    Tissue,
    brain_contrast,
    draw_brain_look,
    draw_details,
    draw_placement,
    warp,
)
from preprocessing.phantom.atlas import Atlas
from preprocessing.phantom.config import Acquisition, PhantomConfig, Range
from preprocessing.phantom.contrasts import FIRST, Contrast
from preprocessing.phantom.fields import Axes, smooth_field
from preprocessing.phantom.glioma import (
    HighGradeLook,
    HighGradeParts,
    LowGradeLook,
    LowGradeParts,
    draw_high_grade,
    draw_high_grade_look,
    draw_infiltration,
    draw_low_grade,
    draw_low_grade_look,
)
from preprocessing.phantom.head import HeadLook, Shell, add_head, draw_head_look, draw_shell
from preprocessing.phantom.layout import Layout, to_nifti
from preprocessing.phantom.lesion import draw_lesion
from preprocessing.phantom.lower import load_lower
from preprocessing.phantom.movement import Movement
from preprocessing.phantom.plan import Subject


@dataclass(frozen=True)
class Looks:
    """One contrast of one subject: brain, and lesion or head."""

    brain: BrainLook
    lesion: LowGradeLook | HighGradeLook | None = None
    head: HeadLook | None = None


@dataclass(frozen=True)
class Person:
    """One subject's anatomy, drawn once for all contrasts.

    `labels` (uint8, RAS order) is above 0 in the brain, with the lesion's parts as in `glioma`;
    `first` is the look of the subject's first contrast.
    """

    subject: Subject
    layout: Layout
    tissue: Tissue
    details: Details
    labels: np.ndarray
    glioma: LowGradeParts | HighGradeParts | None
    shell: Shell | None
    first: Looks


@dataclass(frozen=True)
class Phantom:
    """One finished contrast: `image` is int16 as the data set stores it, `mask` uint8 labels."""

    image: Nifti1Image
    mask: Nifti1Image


def draw_person(
    subject: Subject, config: PhantomConfig, atlas: Atlas, layout: Layout, seed: int
) -> Person:
    """Draw one subject's anatomy: most of the work.

    Args:
        subject: Who it is.
        config: The ranges to draw from.
        atlas: The template head.
        layout: The grid to fill.
        seed: The cohort's seed.
    """
    healthy = subject.label == "Healthy"
    placement = draw_placement(subject.rng(seed, "placement"), config.anatomy, layout)
    lesion = None
    if not healthy:
        rng = subject.rng(seed, "lesion")
        lesion = draw_lesion(rng, config.lesion, atlas, placement.to_subject)
    axes = layout.axes_mm()
    tissue = warp(subject.rng(seed, "warp"), config.anatomy, atlas, axes, placement, lesion)
    sequence = config.t1 if healthy else config.t1ce
    details, brain = draw_details(tissue, sequence, subject.rng(seed, "contrast"))
    labels = (tissue.inside > 0.5).astype(np.uint8)
    person = Person(subject, layout, tissue, details, labels, None, None, Looks(brain))
    if lesion is None:
        shell, head = draw_shell(tissue, config.head, atlas, subject.rng(seed, "head"))
        return replace(person, shell=shell, first=Looks(brain, head=head))
    rng = subject.rng(seed, "look")
    parts: LowGradeParts | HighGradeParts
    look: LowGradeLook | HighGradeLook
    if subject.label == "LGG":
        infiltration = draw_infiltration(
            labels,
            lesion,
            tissue,
            config.further.infiltration_mm,
            subject.rng(seed, "infiltration"),
        )
        parts, look = draw_low_grade(labels, lesion, axes, infiltration, config.lgg, rng)
    else:
        parts, look = draw_high_grade(labels, lesion, tissue, config.hgg, rng)
    return replace(person, glioma=parts, first=Looks(brain, lesion=look))


def scan_person(
    person: Person,
    contrast: Contrast,
    config: PhantomConfig,
    atlas: Atlas,
    seed: int,
    movement: Movement | None = None,
) -> Phantom:
    """Scan a subject with one contrast.

    Args:
        person: The subject.
        contrast: Which contrast.
        config: The ranges to draw from.
        atlas: The template head.
        seed: The cohort's seed.
        movement: How the head has moved, and on which grid it is then scanned; None for neither.
    """
    subject, layout, labels = person.subject, person.layout, person.labels
    # The first contrast keeps the names of streams from when it was the only one.
    suffix = "" if contrast.name == FIRST[subject.label].name else f" {contrast.name}"
    looks = _further_looks(person, contrast, config, seed) if suffix else person.first
    image = brain_contrast(person.tissue, person.details, looks.brain, contrast.fluid_bright)
    match person.glioma, looks.lesion:
        case LowGradeParts() as low, LowGradeLook() as look:
            low.paint(image, look, contrast.fluid_bright)
        case HighGradeParts() as high, HighGradeLook() as look:
            high.paint(image, look, contrast.fluid_bright)
    if person.shell and looks.head and contrast.head:
        lower = load_lower(int(atlas.brain.spacing), contrast.head.palette)
        image = add_head(image, person.shell, looks.head, lower)
    if movement:
        image, labels = movement.apply(image, layout), movement.apply_labels(labels, layout)
        layout = movement.layout
    scanner = _scanner(config.acquisition, subject.centre + suffix)
    rng = subject.rng(seed, f"scanner{suffix}")
    stored = _acquire(image, layout.axes_mm(), layout, scanner, rng)
    if person.shell is None:
        stored[labels == 0] = 0
    return Phantom(to_nifti(stored, layout), to_nifti(labels, layout))


def _further_looks(person: Person, contrast: Contrast, config: PhantomConfig, seed: int) -> Looks:
    """Draw the look of a contrast that is not the subject's first."""
    subject = person.subject
    rng = subject.rng(seed, f"contrast {contrast.name}")
    brain = draw_brain_look(contrast.appearance(config), rng)
    if person.shell and contrast.head:
        rng = subject.rng(seed, f"head {contrast.name}")
        return Looks(brain, head=draw_head_look(contrast.head.tissues(config), rng))
    if contrast.lesions is None:
        return Looks(brain)
    ranges = contrast.lesions(config.further)
    rng = subject.rng(seed, f"look {contrast.name}")
    if subject.label == "HGG":
        return Looks(brain, lesion=draw_high_grade_look(ranges, rng))
    mismatch = subject.rng(seed, "mismatch").uniform(*config.further.mismatch)
    return Looks(brain, lesion=draw_low_grade_look(ranges, mismatch, contrast.fluid_bright, rng))


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
