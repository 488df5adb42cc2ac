"""Quality control: numbers, warnings and a picture of every subject in `qc.html` and `qc.csv`."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from numpy.typing import NDArray

from preprocessing.brain import Mask, bounding_box, faces
from preprocessing.cohorts import Scan
from preprocessing.nifti import Image
from preprocessing.picture import montage
from stfmri.study.config import Config
from stfmri.study.duplicates import Pair
from stfmri.study.files import replacing, write_atomic
from stfmri.study.shards import IndexRow

# Adult brains with their CSF; what lies beyond is more likely a wrong mask than a person.
BRAIN_ML = (900.0, 2200.0)
# Robust standard deviations from the median of its source at which a volume stands out.
OUTLYING = 4.0
# Scans a source must have before its own spread says anything.
ENOUGH = 10
# A brain may touch the field's floor at the spinal cord, about 1 cm² of it, but not more.
BORDER_CM2 = 2.0
COLUMNS = {
    "brain_ml": "volume of the brain mask",
    "right_mm": "extent of the mask along each axis",
    "anterior_mm": "",
    "superior_mm": "",
    "border_cm2": "area of the mask on the faces of the scan",
    "offset_mm": "distance of the brain's centre from the scan's",
    "mean": "of the stored volume in the brain, as are those that follow",
    "sd": "",
    "p05": "",
    "median": "",
    "p95": "",
    "oriented": "whether the header says where left is",
}


@dataclass(frozen=True)
class Card:
    """What the page shows of a subject."""

    row: IndexRow
    label: str
    brain_ml: float
    warnings: list[str]
    picture: str  # PNG, base64


def measures_file(cache: Path, key: str) -> Path:
    """Where a volume's numbers are; there only with its picture."""
    return cache / "qc" / f"{key}.json"


def read_measures(cache: Path, key: str) -> dict[str, Any]:
    """The numbers that `keep` wrote."""
    numbers: dict[str, Any] = json.loads(measures_file(cache, key).read_text(encoding="utf-8"))
    return numbers


def keep(cache: Path, key: str, image: Image, brain: Mask, numbers: dict[str, Any]) -> None:
    """Keep a volume's numbers and picture; the numbers come last and stand for both."""
    with replacing(_picture_file(cache, key)) as temporary:
        temporary.write_bytes(montage(image, brain))
    write_atomic(measures_file(cache, key), json.dumps(numbers))


def measure(image: Image, brain: Mask, volume_CDHW: NDArray[np.float16]) -> dict[str, Any]:
    """The numbers of `COLUMNS`, of the mask on the scan's grid and of the stored volume."""
    spacing = image.spacing
    box = bounding_box(brain)
    extents = np.array([part.stop - part.start for part in box]) * spacing
    # Which stored axis runs along right, anterior, superior: the one with the largest share.
    along = np.abs(image.affine[:3, :3] / spacing).argmax(axis=1)
    middle = [(part.start + part.stop - 1) / 2 for part in box]
    offset = (np.array(middle) - (np.array(brain.shape) - 1) / 2) * spacing
    values = volume_CDHW[volume_CDHW > 0].astype(np.float32)
    p05, median, p95 = np.percentile(values, [5, 50, 95])
    numbers = {
        "brain_ml": np.count_nonzero(brain) * np.prod(spacing) / 1000,
        "right_mm": extents[along[0]],
        "anterior_mm": extents[along[1]],
        "superior_mm": extents[along[2]],
        "border_cm2": _border_cm2(brain, spacing),
        "offset_mm": np.linalg.norm(offset),
        "mean": values.mean(),
        "sd": values.std(),
        "p05": p05,
        "median": median,
        "p95": p95,
    }
    rounded: dict[str, Any] = {name: round(float(value), 3) for name, value in numbers.items()}
    return {**rounded, "oriented": image.oriented}


def write(
    config: Config,
    rows: Sequence[IndexRow],
    measures: Sequence[dict[str, Any]],
    rejected: Sequence[tuple[Scan, str]],
    pairs: Sequence[Pair] = (),
) -> None:
    """Write `qc.csv` and `qc.html` of the volumes that go into the index.

    Args:
        measures: of each row, as `read_measures` returns them.
        rejected: scans without a volume, and why.
        pairs: scans of different patients that are almost the same.
    """
    cache, label = config.cache, config.data.label
    warnings = warn(rows, measures, pairs)
    _write_table(cache, label, rows, measures, warnings)
    cards = [
        Card(
            row=row,
            label=row.columns[label],
            brain_ml=numbers["brain_ml"],
            warnings=found,
            picture=base64.b64encode(_picture_file(cache, row.key).read_bytes()).decode(),
        )
        for row, numbers, found in zip(rows, measures, warnings, strict=True)
    ]
    pages = Environment(
        loader=PackageLoader("preprocessing"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = pages.get_template("qc.html.j2").render(
        name=config.data.name,
        spacing=f"{config.preprocessing.spacing_mm:g}",
        cards=cards,
        warned=sum(bool(card.warnings) for card in cards),
        labels=sorted({card.label for card in cards}),
        sources=sorted({row.source for row in rows}),
        rejected=rejected,
    )
    write_atomic(cache / "qc.html", page)


def warn(
    rows: Sequence[IndexRow], measures: Sequence[dict[str, Any]], pairs: Sequence[Pair] = ()
) -> list[list[str]]:
    """What to look at in each volume, in words; nothing for most."""
    almost: dict[str, list[str]] = {}
    for pair in pairs:
        for one, other in (pair.subject_a, pair.subject_b), (pair.subject_b, pair.subject_a):
            almost.setdefault(one, []).append(f"{other} ({pair.correlation:.3f})")
    volumes_ml = np.array([numbers["brain_ml"] for numbers in measures])
    twins: dict[str, list[str]] = {}
    for row in rows:
        twins.setdefault(row.sha256, []).append(row.subject_id)
    found = []
    for row, numbers in zip(rows, measures, strict=True):
        peers = volumes_ml[[other.source == row.source for other in rows]]
        same = [subject for subject in twins[row.sha256] if subject != row.subject_id]
        conditions = {
            f"brain of {numbers['brain_ml']:.0f} ml": not (
                BRAIN_ML[0] <= numbers["brain_ml"] <= BRAIN_ML[1]
            ),
            "volume unlike its source": _stands_out(numbers["brain_ml"], peers),
            f"cut by the scan's edge ({numbers['border_cm2']:.0f} cm²)": numbers["border_cm2"]
            > BORDER_CM2,
            "left and right unknown": not numbers["oriented"],
            f"same voxels as {', '.join(same)}": bool(same),
            f"almost the same as {', '.join(almost.get(row.subject_id, ()))}, of another patient": (
                row.subject_id in almost
            ),
        }
        found.append([text for text, holds in conditions.items() if holds])
    return found


def _stands_out(value: float, peers: NDArray[np.float64]) -> bool:
    if len(peers) < ENOUGH:
        return False
    # 1.4826 turns a normal distribution's median absolute deviation into its standard deviation.
    spread = 1.4826 * np.median(np.abs(peers - np.median(peers)))
    return bool(abs(value - np.median(peers)) > OUTLYING * max(spread, 1.0))


def _border_cm2(brain: Mask, spacing: NDArray[np.float64]) -> float:
    area = 0.0
    for axis in range(3):
        voxel_cm2 = np.prod(np.delete(spacing, axis)) / 100
        area += voxel_cm2 * sum(map(np.count_nonzero, faces(brain)[2 * axis : 2 * axis + 2]))
    return float(area)


def _picture_file(cache: Path, key: str) -> Path:
    return cache / "qc" / f"{key}.png"


def _write_table(
    cache: Path,
    label: str,
    rows: Sequence[IndexRow],
    measures: Sequence[dict[str, Any]],
    warnings: Sequence[list[str]],
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["subject_id", "source", label, *COLUMNS, "warnings"])
    for row, numbers, found in zip(rows, measures, warnings, strict=True):
        values = (numbers[name] for name in COLUMNS)
        writer.writerow([row.subject_id, row.source, row.columns[label], *values, "; ".join(found)])
    write_atomic(cache / "qc.csv", text.getvalue())
