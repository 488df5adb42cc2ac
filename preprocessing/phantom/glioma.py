"""What the two grades look like: their parts, the same in all contrasts, and each one's look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preprocessing.phantom.anatomy import Tissue
from preprocessing.phantom.config import HighGrade, LesionLook, LowGrade, Range
from preprocessing.phantom.fields import Axes, ramp, smooth_field
from preprocessing.phantom.lesion import Lesion, Neighbourhood, neighbourhood

# Values of the label map that `--masks` writes; `> 0` is the brain.
BRAIN, OEDEMA, CORE, RIM = 1, 2, 3, 4


@dataclass(frozen=True)
class LowGradeLook:
    """One contrast of a low-grade glioma, white matter = 1.

    `inner` is what its middle turns to, `infiltrated` the white matter around it; None where that
    is not seen.
    """

    intensity: float
    inner: float
    infiltrated: float | None


@dataclass(frozen=True)
class HighGradeLook:
    """One contrast of a high-grade glioma, white matter = 1; `weak_rim` where no agent arrives."""

    oedema: float
    rim: float
    weak_rim: float
    core: float


@dataclass(frozen=True)
class Swelling:
    """White matter full of water around a tumour: its weight, and what is not fluid, 0 to 1."""

    slices: tuple[slice, slice, slice]
    weight: np.ndarray
    tissue: np.ndarray

    def paint(self, image: np.ndarray, intensity: float, fluid_bright: bool) -> None:
        """Draw it into `image` (white matter = 1), in place.

        It only brightens tissue, or only darkens it: fluid in the sulci stays as it is.
        """
        local = image[self.slices]
        change = intensity - local
        change = change.clip(min=0) * self.tissue if fluid_bright else change.clip(max=0)
        local += self.weight * change


@dataclass(frozen=True)
class LowGradeParts:
    """Where a low-grade glioma lies and how it is mottled, the same in every contrast.

    `weight` is how much of the tissue's own signal it replaces, `middle` how much of its own
    intensity gives way to that of its inner part; both 0 to 1. `mottling` is a factor about 1.
    """

    infiltration: Swelling
    slices: tuple[slice, slice, slice]
    weight: np.ndarray
    middle: np.ndarray
    mottling: np.ndarray

    def paint(self, image: np.ndarray, look: LowGradeLook, fluid_bright: bool) -> None:
        """Draw it into `image` (white matter = 1), in place."""
        if look.infiltrated is not None:
            self.infiltration.paint(image, look.infiltrated, fluid_bright)
        intensity = look.intensity + (look.inner - look.intensity) * self.middle
        target = intensity * _mottling(self.mottling, fluid_bright)
        local = image[self.slices]
        local += self.weight * (target - local)


@dataclass(frozen=True)
class HighGradeParts:
    """Where the parts of a high-grade glioma lie, the same in every contrast.

    `inner` is the core against the rim, `enhancing` how much agent the rim takes up, `weight` the
    tumour against what is around it; all 0 to 1. `mottling` is a factor about 1.
    """

    oedema: Swelling
    slices: tuple[slice, slice, slice]
    inner: np.ndarray
    enhancing: np.ndarray
    weight: np.ndarray
    mottling: np.ndarray

    def paint(self, image: np.ndarray, look: HighGradeLook, fluid_bright: bool) -> None:
        """Draw it into `image` (white matter = 1), in place."""
        self.oedema.paint(image, look.oedema, fluid_bright)
        mottling = _mottling(self.mottling, fluid_bright)
        rim = look.weak_rim + (look.rim - look.weak_rim) * (0.15 + 0.85 * self.enhancing)
        core = look.core * (1 + (mottling - 1) * 1.5)
        tumour = (1 - self.inner) * rim * mottling + self.inner * core
        local = image[self.slices]
        local += self.weight * (tumour - local)


def _mottling(factor: np.ndarray, fluid_bright: bool) -> np.ndarray:
    """Turn the mottling round where fluid is bright: dark spots of T1 are bright ones of T2."""
    return 2 - factor if fluid_bright else factor


def _draw_swelling(
    near: Neighbourhood, widest_mm: float, white: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw how far water reaches, up to some `widest_mm`, into the white matter; 0 to 1."""
    width = widest_mm * (1 + 0.6 * near.sectors)
    fingers = smooth_field(rng, near.axes_mm, 12.0)
    share = ramp(width + 2.0 * fingers - near.signed_mm, 4.0)
    return share * (0.25 + 0.75 * white[near.slices])


def draw_infiltration(
    labels: np.ndarray,
    lesion: Lesion,
    tissue: Tissue,
    width_mm: Range,
    rng: np.random.Generator,
) -> Swelling:
    """Draw how a low-grade glioma grows into the white matter around it; not marked in `labels`."""
    widest = rng.uniform(*width_mm)
    near = neighbourhood(lesion, tissue.axes_mm, 2 * widest + 6.0, rng)
    share = _draw_swelling(near, widest, tissue.white, rng)
    brain = labels[near.slices] > 0
    return Swelling(near.slices, 0.9 * share * brain, tissue.solid[near.slices])


def draw_low_grade(
    labels: np.ndarray,
    lesion: Lesion,
    axes_mm: Axes,
    infiltration: Swelling,
    look: LowGrade,
    rng: np.random.Generator,
) -> tuple[LowGradeParts, LowGradeLook]:
    """Draw a low-grade glioma: soft-edged and fairly homogeneous.

    Marks `labels` in place.

    Returns:
        Its parts and, from the same stream, its look on T1ce: darker than white matter.
    """
    edge, strength = rng.uniform(*look.edge_mm), rng.uniform(*look.strength)
    near = neighbourhood(lesion, axes_mm, edge, rng)
    mottling = 1 + rng.uniform(*look.texture) * smooth_field(rng, near.axes_mm, 8.0)
    intensity = rng.uniform(*look.intensity)
    marks = labels[near.slices]
    weight = strength * ramp(-near.signed_mm, edge) * (marks > 0)
    marks[(near.signed_mm < 0) & (marks > 0)] = CORE
    # The inner part begins a sixth of the diameter (at least the edge) below the surface.
    middle = ramp(-near.signed_mm - max(edge, lesion.diameter_mm / 6), 3.0)
    parts = LowGradeParts(infiltration, near.slices, weight, middle, mottling)
    return parts, LowGradeLook(intensity, intensity, None)


def draw_low_grade_look(
    ranges: LesionLook, mismatch: float, fluid_bright: bool, rng: np.random.Generator
) -> LowGradeLook:
    """Draw the look of a further contrast.

    Args:
        ranges: What to draw from.
        mismatch: How far the middle turns to the inner part's intensity, 0 to 1.
        fluid_bright: Whether fluid-rich tissue is bright: only then is infiltration seen.
        rng: Random stream.
    """
    intensity, inner = rng.uniform(*ranges.low_grade), rng.uniform(*ranges.low_grade_inner)
    infiltrated = rng.uniform(*ranges.oedema) if fluid_bright else None
    return LowGradeLook(intensity, intensity + mismatch * (inner - intensity), infiltrated)


def draw_high_grade(
    labels: np.ndarray,
    lesion: Lesion,
    tissue: Tissue,
    look: HighGrade,
    rng: np.random.Generator,
) -> tuple[HighGradeParts, HighGradeLook]:
    """Draw a high-grade glioma: oedema in white matter, a rim, a necrotic core.

    Marks `labels` in place.

    Returns:
        Its parts and, from the same stream, its look on T1ce: the rim enhances.
    """
    widest = rng.uniform(*look.oedema_mm)
    near = neighbourhood(lesion, tissue.axes_mm, 2 * widest + 6.0, rng)
    marks = labels[near.slices]
    brain = marks > 0
    signed, sectors = near.signed_mm, near.sectors

    swelling = _draw_swelling(near, widest, tissue.white, rng)
    oedema = rng.uniform(*look.oedema_intensity)
    marks[(swelling > 0.5) & brain & (signed > 0)] = OEDEMA

    mottling = 1 + rng.uniform(*look.texture) * smooth_field(rng, near.axes_mm, 6.0)
    rim_mm = min(rng.uniform(*look.rim_mm), lesion.diameter_mm / 6)
    uneven = 0.4 * sectors * rng.choice([-1, 1]) + 0.3 * smooth_field(rng, near.axes_mm, 9.0)
    thickness = rim_mm * np.clip(1 + uneven, 0.4, 1.8)
    full, core = rng.uniform(*look.rim_intensity), rng.uniform(*look.core_intensity)
    # Sectors beyond the completeness enhance weakly: sectors are about uniform on -1 to 1.
    completeness = rng.uniform(*look.rim_completeness)
    parts = HighGradeParts(
        oedema=Swelling(near.slices, 0.9 * swelling * brain, tissue.solid[near.slices]),
        slices=near.slices,
        inner=ramp(-thickness - signed, 1.6),
        enhancing=ramp(2 * completeness - 1 - sectors, 0.5),
        weight=ramp(-signed, 1.4) * brain,
        mottling=mottling,
    )
    marks[(signed < 0) & brain] = RIM
    marks[(signed < -thickness) & brain] = CORE
    return parts, HighGradeLook(oedema=oedema, rim=full, weak_rim=0.8, core=core)


def draw_high_grade_look(ranges: LesionLook, rng: np.random.Generator) -> HighGradeLook:
    """Draw the look of a further contrast: no agent, hence one rim all around."""
    oedema, rim = rng.uniform(*ranges.oedema), rng.uniform(*ranges.rim)
    return HighGradeLook(oedema=oedema, rim=rim, weak_rim=rim, core=rng.uniform(*ranges.core))
