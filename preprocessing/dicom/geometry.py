"""Do the slices of a series make one volume? From their positions alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from preprocessing.dicom.headers import Frame, Header
from stfmri.study.words import plural

# A head at 5 mm has some 25 slices; localisers and single views have fewer than this.
FEWEST_SLICES = 10
SAME_PLACE_MM = 0.01
# Headers round: directions and gaps that differ by less are the same.
SAME_DIRECTION = 0.01
GAP_SHARE = 0.2


@dataclass(frozen=True)
class Geometry:
    """Size of the volume, and why it is none.

    Attributes:
        dims: columns, rows, slices.
        spacing_mm: along a row, along a column, between slices; 0 where unknown.
        fault: empty for a volume.
    """

    dims: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    fault: str = ""


def geometry(headers: Sequence[Header]) -> Geometry:
    """The volume that the images of one series make."""
    first = headers[0]
    frames = [frame for header in headers for frame in header.frames]
    down, along = first.pixel_mm[:2] if len(first.pixel_mm) >= 2 else (0.0, 0.0)
    places, fault = _places(frames)
    gaps = np.diff(places)
    gap = float(np.median(gaps)) if len(gaps) else 0.0
    if len({(header.rows, header.columns) for header in headers}) > 1:
        fault = "images of different sizes"
    elif not fault and min(down, along) <= 0:
        fault = "no pixel spacing"
    elif not fault:
        fault = _gap_fault(gaps, gap)
    slices = len(places) or len(frames)
    return Geometry((first.columns, first.rows, slices), (along, down, gap), fault)


def _places(frames: Sequence[Frame]) -> tuple[np.ndarray, str]:
    """Sorted distinct distances of the slices along their normal in mm, and what is wrong."""
    nowhere = np.zeros(0)
    if len(frames) < FEWEST_SLICES:
        return nowhere, f"only {plural(len(frames), 'slice')}"
    known = [
        (frame.position, frame.orientation)
        for frame in frames
        if len(frame.position or ()) == 3 and len(frame.orientation or ()) == 6
    ]
    if len(known) < len(frames):
        return nowhere, "images without a position"
    positions = np.array([position for position, _ in known])
    orientations = np.array([orientation for _, orientation in known])
    if np.abs(orientations - orientations[0]).max() > SAME_DIRECTION:
        return nowhere, "slices in several directions, as in a localiser"
    normal = np.cross(orientations[0, :3], orientations[0, 3:])
    distances = np.sort(positions @ normal)
    places = distances[np.r_[True, np.diff(distances) > SAME_PLACE_MM]]
    if len(places) < len(frames):
        return places, _repeat_fault(frames, len(places))
    return places, ""


def _repeat_fault(frames: Sequence[Frame], places: int) -> str:
    echoes = {frame.echo_ms for frame in frames}
    if len(echoes) > 1:
        return f"{len(echoes)} echo times in one series"
    return f"{len(frames)} images at {places} positions: several volumes in one series"


def _gap_fault(gaps: np.ndarray, gap: float) -> str:
    if len(gaps) + 1 < FEWEST_SLICES:
        return f"only {plural(len(gaps) + 1, 'slice')}"
    if np.abs(gaps - gap).max() <= GAP_SHARE * gap:
        return ""
    missing = int(np.rint(gaps / gap - 1).clip(0).sum())
    if missing:
        return f"{plural(missing, 'slice')} missing between the first and the last"
    return f"slices at uneven distances, {gaps.min():.2f} to {gaps.max():.2f} mm"
