"""The contrasts a phantom can have, one record each, and who has which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from preprocessing.phantom.config import (
    Appearance,
    Further,
    HeadTissues,
    LesionLook,
    PhantomConfig,
)
from preprocessing.phantom.lower import PALETTE_T1, PALETTE_T2, Palette
from stfmri.study.errors import UserError


@dataclass(frozen=True)
class HeadContrast:
    """What surrounds the brain: ranges of skull and scalp, and the materials below the skull."""

    tissues: Callable[[PhantomConfig], HeadTissues]
    palette: Palette


@dataclass(frozen=True)
class Contrast:
    """One MR contrast.

    Attributes:
        name: as in `--contrasts`, and the ending of a BraTS file's name.
        ixi: its name in IXI's folders and files; empty where IXI has no such scan.
        fluid_bright: whether fluid-rich lesions are brighter than white matter (T2 weighting)
            instead of darker, and flowing blood dark.
        appearance: the tissues' ranges.
        lesions: the lesions' ranges; None for T1ce, whose ranges are in the grades' own sections.
        head: what surrounds the brain; None where only stripped scans have this contrast.
        slices_mm: least voxel size along right, anterior and superior on a grid of its own.
        orientation: how a file on a grid of its own is stored.
    """

    name: str
    ixi: str
    fluid_bright: bool
    appearance: Callable[[PhantomConfig], Appearance]
    lesions: Callable[[Further], LesionLook] | None
    head: HeadContrast | None
    slices_mm: tuple[float, float, float]
    orientation: str


CONTRASTS = {
    contrast.name: contrast
    for contrast in (
        Contrast(
            name="t1",
            ixi="T1",
            fluid_bright=False,
            appearance=lambda config: config.t1,
            lesions=lambda further: further.lesions.t1,
            head=HeadContrast(lambda config: config.head, PALETTE_T1),
            slices_mm=(1.2, 0.9, 0.9),
            orientation="PSR",
        ),
        Contrast(
            name="t1ce",
            ixi="",
            fluid_bright=False,
            appearance=lambda config: config.t1ce,
            lesions=None,
            head=None,
            slices_mm=(0.9, 0.9, 3.0),
            orientation="LAS",
        ),
        Contrast(
            name="t2",
            ixi="T2",
            fluid_bright=True,
            appearance=lambda config: config.further.t2,
            lesions=lambda further: further.lesions.t2,
            head=HeadContrast(lambda config: config.further.head_t2, PALETTE_T2),
            slices_mm=(0.9, 0.9, 5.0),
            orientation="LAS",
        ),
        Contrast(
            name="flair",
            ixi="",
            fluid_bright=True,
            appearance=lambda config: config.further.flair,
            lesions=lambda further: further.lesions.flair,
            head=None,
            slices_mm=(0.9, 0.9, 5.0),
            orientation="RAS",
        ),
    )
}

# The contrast that a subject has when none is asked for. Its random streams also decide the shape
# of lesion, vessels and skull, whichever contrasts are written.
FIRST = {"LGG": CONTRASTS["t1ce"], "HGG": CONTRASTS["t1ce"], "Healthy": CONTRASTS["t1"]}


def contrasts_of(label: str, names: Sequence[str]) -> tuple[Contrast, ...]:
    """List the contrasts that a subject of a class gets, in the order asked.

    Args:
        label: The class.
        names: Contrasts asked for; none asks for the class's first one.

    Raises:
        UserError: for an unknown contrast, or one asked for twice.
    """
    if not names:
        return (FIRST[label],)
    for name in names:
        if name not in CONTRASTS:
            raise UserError(f"--contrasts knows {', '.join(CONTRASTS)}; found {name!r}")
    if len(set(names)) < len(names):
        raise UserError(f"--contrasts must name each contrast once; found {' '.join(names)}")
    found = (CONTRASTS[name] for name in names)
    return tuple(contrast for contrast in found if label != "Healthy" or contrast.head)
