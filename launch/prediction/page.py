"""Answers as one self-contained page: each scan with its brain mask, what every network said."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from PIL import Image as Pillow

from launch.prediction.answers import Answer
from launch.prediction.examine import Examined


@dataclass(frozen=True)
class Track:
    """The probabilities of one class: their mean, and where each network's lies from 0 to 100."""

    name: str
    mean: str
    low: str
    high: str
    percent: float
    places: tuple[float, ...]


@dataclass(frozen=True)
class NetworkRow:
    """What one network said."""

    label: str
    prediction: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """What the page shows of a scan; `picture` is a PNG, base64."""

    answer: Answer
    title: str
    path: str
    picture: str
    width: int
    height: int
    mean: tuple[str, ...]
    tracks: tuple[Track, ...]
    rows: tuple[NetworkRow, ...]


def render(
    name: str,
    labels: Sequence[str],
    answers: Sequence[Answer],
    refused: Sequence[Examined],
    *,
    classes: Sequence[str],
    caution: str,
    meaning: str,
    notes: Sequence[str] = (),
) -> str:
    """The whole page; everything from outside is escaped.

    Args:
        name: of the variants that answered.
        labels: of their networks.
        caution: what the networks were trained on, in a sentence without its full stop.
        meaning: what the probabilities are of, likewise.
        notes: on the choice of networks, without full stops.
    """
    pages = Environment(
        # The same look as the report on a sweep.
        loader=ChoiceLoader([PackageLoader("launch"), PackageLoader("stfmri.evidence")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["capitalised"] = _capitalised
    warned = sum(bool(answer.warnings) for answer in answers)
    facts = [
        (len(answers), "scan answered" if len(answers) == 1 else "scans answered"),
        (warned, "with a warning" if warned == 1 else "with warnings"),
        (len(refused), "refused"),
        (len(labels), "network" if len(labels) == 1 else "networks"),
    ]
    return pages.get_template("prediction.html.j2").render(
        name=name,
        labels=labels,
        networks=len(labels),
        classes=classes,
        caution=caution,
        meaning=meaning,
        notes=notes,
        facts=facts,
        cards=[_card(answer, labels) for answer in answers],
        refused=refused,
        several=any(len(answer.examined.scan.paths) > 1 for answer in answers),
        version=version("stfmri"),
    )


def _card(answer: Answer, labels: Sequence[str]) -> Card:
    scan, content = answer.examined.scan, answer.examined.picture
    width, height = Pillow.open(io.BytesIO(content)).size
    path = str(scan.path)
    return Card(
        answer,
        scan.path.name if scan.subject_id == path else scan.subject_id,
        path,
        base64.b64encode(content).decode(),
        width,
        height,
        tuple(f"{value:.2f}" for value in answer.probability_K),
        tuple(_track(answer, number) for number in range(len(answer.classes))),
        tuple(
            NetworkRow(
                label,
                answer.classes[int(said_K.argmax())],
                tuple(f"{value:.2f}" for value in said_K),
            )
            for label, said_K in zip(labels, answer.probability_FK, strict=True)
        ),
    )


def _track(answer: Answer, number: int) -> Track:
    said_F, mean = answer.probability_FK[:, number], float(answer.probability_K[number])
    return Track(
        answer.classes[number],
        f"{mean:.2f}",
        f"{said_F.min():.2f}",
        f"{said_F.max():.2f}",
        round(100 * mean, 1),
        tuple(round(100 * float(value), 1) for value in said_F) if len(said_F) > 1 else (),
    )


def _capitalised(text: str) -> str:
    """With a large first letter, the rest as it is."""
    return text[:1].upper() + text[1:]
