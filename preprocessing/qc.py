"""Quality control: a picture and some numbers of every subject, `qc.html` and `qc.csv`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohorts import Scan
from preprocessing.nifti import Image
from preprocessing.skullstrip import Mask, bounding_box
from stfmri.config import DataConfig
from stfmri.files import replacing, write_atomic
from stfmri.shards import IndexRow


def measures_file(cache: Path, key: str) -> Path:
    return cache / "qc" / f"{key}.json"


def read_measures(cache: Path, key: str) -> dict[str, Any]:
    """The numbers that `keep` wrote."""
    return json.loads(measures_file(cache, key).read_text(encoding="utf-8"))


def keep(cache: Path, key: str, measures: dict[str, Any], picture: bytes) -> None:
    """Keep a volume's numbers and picture; the numbers come last and stand for both."""
    with replacing(cache / "qc" / f"{key}.png") as temporary:
        temporary.write_bytes(picture)
    write_atomic(measures_file(cache, key), json.dumps(measures))


def measure(
    image: Image, brain: Mask, volume_CDHW: NDArray[np.float16], affine: NDArray[np.float64]
) -> dict[str, Any]:
    values = volume_CDHW[volume_CDHW > 0].astype(np.float32)
    return {
        "brain_ml": float(np.count_nonzero(brain) * np.prod(image.spacing) / 1000),
        "mean": float(values.mean()),
    }


def montage(image: Image, brain: Mask) -> bytes:
    return b""


def write(
    cache: Path,
    data: DataConfig,
    rows: Sequence[IndexRow],
    measures: Sequence[dict[str, Any]],
    rejected: Sequence[tuple[Scan, str]],
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(measures[0]) if measures else []
    writer.writerow(["subject_id", *names])
    for row, numbers in zip(rows, measures, strict=True):
        writer.writerow([row.subject_id, *(numbers[name] for name in names)])
    write_atomic(cache / "qc.csv", text.getvalue())
