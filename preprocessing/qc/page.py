"""The table and the page: `qc.csv`, `qc.html`, and what the page's viewer needs beside it."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from PIL import Image as Pillow

from preprocessing.cohorts import Scan
from preprocessing.command import preprocessing_command
from preprocessing.qc.findings import volume_z, warn
from preprocessing.qc.measures import PERCENT, Measure, columns
from preprocessing.qc.records import picture_file
from stfmri.study import quality
from stfmri.study.config import Config
from stfmri.study.duplicates import Pair
from stfmri.study.files import private_dir, replacing, write_atomic
from stfmri.study.rejected import LEFT_OUT
from stfmri.study.shards import IndexRow

# NiiVue as its npm package has it, and its licence; see the latter for version and hash.
VIEWER_FILES = ("niivue.js", "niivue-LICENSE.txt")
EXCLUDE_FILE = "exclude.csv"  # as the page names its download


@dataclass(frozen=True)
class Card:
    """What the page shows of a subject."""

    row: IndexRow
    label: str
    warnings: list[str]
    contrasts: list[str]  # of the picture's rows
    picture: str  # PNG, base64
    width: int
    height: int


def write(
    config: Config,
    rows: Sequence[IndexRow],
    measures: Sequence[dict[str, Any]],
    rejected: Sequence[tuple[Scan, str]],
    pairs: Sequence[Pair] = (),
) -> None:
    """Write `qc.csv`, `qc.html` and the viewer's folder for the volumes that go into the index.

    Args:
        measures: of each row, as `read_measures` returns them.
        rejected: scans without a volume, and why.
        pairs: scans of different patients that are almost the same.
    """
    cache, label = config.cache, config.data.label
    warnings = warn(rows, measures, pairs, config.preprocessing.percentiles)
    numbers = [
        {**found, "volume_z": None if z is None else round(z, 2)}
        for found, z in zip(measures, volume_z(rows, measures), strict=True)
    ]
    known = columns(numbers)
    _write_table(cache, label, rows, numbers, known, warnings)
    _copy_viewer(cache)
    cards = [
        _card(cache, row, row.columns[label], texts, _present(config, found))
        for row, texts, found in zip(rows, warnings, measures, strict=True)
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
        several=len(config.data.channels) > 1,
        cards=cards,
        warned=sum(bool(card.warnings) for card in cards),
        labels=sorted({card.label for card in cards}),
        sources=sorted({row.source for row in rows}),
        rejected=rejected,
        command=_leave_out_command(config),
        data=_page_data(cards, numbers, known, _earlier(config, rejected)),
    )
    write_atomic(cache / "qc.html", page)


def _present(config: Config, found: Mapping[str, Any]) -> list[str]:
    """The contrasts that a subject has."""
    missing = found.get("missing", ())
    return [name for name in config.data.channels if name not in missing]


def _card(
    cache: Path, row: IndexRow, label: str, warnings: list[str], contrasts: list[str]
) -> Card:
    content = picture_file(cache, row.key).read_bytes()
    width, height = Pillow.open(io.BytesIO(content)).size
    return Card(row, label, warnings, contrasts, base64.b64encode(content).decode(), width, height)


def _page_data(
    cards: Sequence[Card],
    numbers: Sequence[Mapping[str, Any]],
    known: Sequence[Measure],
    earlier: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """What the page's scripts read: measures, and of each subject its values in their order."""
    scale = [100 if measure.name.startswith(PERCENT) else 1 for measure in known]
    return {
        "measures": [
            {"meaning": measure.meaning, "unit": measure.unit, "digits": measure.digits}
            for measure in known
        ],
        "subjects": [
            {
                "key": card.row.key,
                "id": card.row.subject_id,
                "label": card.label,
                "source": card.row.source,
                "warnings": card.warnings,
                "values": [
                    None if (value := found.get(measure.name)) is None else value * factor
                    for measure, factor in zip(known, scale, strict=True)
                ],
            }
            for card, found in zip(cards, numbers, strict=True)
        ],
        "earlier": earlier,
    }


def _earlier(config: Config, rejected: Sequence[tuple[Scan, str]]) -> list[tuple[str, str]]:
    """Subjects that were left out before, and why: every later `exclude.csv` names them, too."""
    if not config.data.exclude:
        return []
    return [
        (scan.subject_id, reason.removeprefix(LEFT_OUT))
        for scan, reason in rejected
        if reason.startswith(LEFT_OUT)
    ]


def _leave_out_command(config: Config) -> str:
    """The command that builds the cohort without the subjects of the page's download."""
    return preprocessing_command(replace(config, data=replace(config.data, exclude=EXCLUDE_FILE)))


def _copy_viewer(cache: Path) -> None:
    """Put the viewer's program beside the page, once."""
    folder = private_dir(cache / "viewer")
    for name in VIEWER_FILES:
        with as_file(files("preprocessing") / "templates" / name) as source:
            target = folder / name
            if not target.is_file() or target.stat().st_size != source.stat().st_size:
                with replacing(target) as temporary:
                    shutil.copyfile(source, temporary)


def _write_table(
    cache: Path,
    label: str,
    rows: Sequence[IndexRow],
    numbers: Sequence[Mapping[str, Any]],
    known: Sequence[Measure],
    warnings: Sequence[list[str]],
) -> None:
    lines = (
        (
            row.subject_id,
            row.source,
            row.columns[label],
            {
                **found,
                "missing": "; ".join(found.get("missing", ())),
                "warnings": "; ".join(texts),
            },
        )
        for row, found, texts in zip(rows, numbers, warnings, strict=True)
    )
    quality.write(cache, label, [measure.name for measure in known], lines)
