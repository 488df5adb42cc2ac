"""The card of pre-trained weights: what they are, and which subjects they saw."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from stfmri.study.errors import UserError
from stfmri.study.files import private_dir, read_text, write_atomic
from stfmri.study.serialise import from_dict, to_dict
from stfmri.study.words import plural

WEIGHTS_FILE = "weights.pt"
CARD_FILE = "card.json"
TEXT_FILE = "card.md"
FORMAT = 1
HARDLY = 0.97  # of the loss of guessing; what is above has learned next to nothing
_SEEN = ("subject_id", "patient_id", "sha256")


@dataclass(frozen=True)
class Seen:
    """A volume that was pre-trained on, as the index of its cache has it."""

    subject_id: str
    patient_id: str
    sha256: str  # of the stored voxels


@dataclass(frozen=True)
class Card:
    """What pre-trained weights are, and what they were made of.

    Attributes:
        name: of its folder in data/pretrained.
        network: name of the network's record; with `stem` it decides keys and shapes.
        channels: names of the input's channels, in order.
        shape: voxels of a volume, (D, H, W).
        cohort: `data.name`, within which a patient id means one person.
        task: a record of stfmri/learning/pretraining.
        method: the task as a methods section has it, after `the weights were`.
        label: the column that was learned; empty where none was.
        classes: of the label, in order; empty where scans themselves were told apart.
        fold: whose training subjects these are; None where it is the whole cohort.
        split_sha256: of the folds; empty for the whole cohort.
        chain: every setting that a voxel depends on, and the extractor's version.
        licence: of the data, in the user's words.
        final: the training loss of the last epoch, and that of guessing.
        code: the commit that the program was of, and whether it had been changed.
    """

    name: str
    network: str
    stem: str
    slice_axis: str
    channels: tuple[str, ...]
    shape: tuple[int, int, int]
    cohort: str
    task: str
    method: str
    label: str
    classes: tuple[str, ...]
    fold: int | None
    split_sha256: str
    chain: dict[str, Any]
    licence: str
    seed: int
    epochs: int
    final: dict[str, float]
    code: dict[str, Any]
    weights_sha256: str
    subjects: tuple[Seen, ...] = field(repr=False)
    format: int = FORMAT

    @cached_property
    def volumes(self) -> frozenset[str]:
        """Hash of the voxels of each volume."""
        return frozenset(seen.sha256 for seen in self.subjects)

    @cached_property
    def patients(self) -> frozenset[str]:
        """Ids within the cohort."""
        return frozenset(seen.patient_id for seen in self.subjects)

    @property
    def has_hardly_learned(self) -> bool:
        """Whether the loss ended next to that of guessing; False where that is not known."""
        guessing = self.final.get("guessing_loss", math.inf)
        return self.final.get("train_loss", 0.0) > HARDLY * guessing

    def summary(self) -> dict[str, Any]:
        """The card without its subjects, for a run's provenance."""
        content = to_dict(replace(self, subjects=()))
        del content["subjects"]
        return {**content, "subjects": len(self.subjects)}


def read(file: Path) -> Card:
    """Read a card.

    Raises:
        UserError: where it is no card of this version.
    """
    try:
        content = json.loads(read_text(file))
        if content.get("format") != FORMAT:
            raise ValueError(f"format {content.get('format')}, this program reads {FORMAT}")
        content["subjects"] = [dict(zip(_SEEN, one, strict=True)) for one in content["subjects"]]
        return from_dict(Card, content, file=str(file))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        UserError,
    ) as error:
        raise UserError(
            f"{file} is no card of pre-trained weights ({error}); run python -m stfmri.pretrain "
            "again under another --name"
        ) from error


def write(card: Card, folder: Path) -> None:
    """Write card.md and, last, card.json, which marks the weights as finished."""
    private_dir(folder)
    write_atomic(folder / TEXT_FILE, "\n".join(text_of(card)) + "\n")
    content = {**to_dict(card), "subjects": [[getattr(s, k) for k in _SEEN] for s in card.subjects]}
    write_atomic(folder / CARD_FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def text_of(card: Card) -> Iterator[str]:
    """The card in Markdown, a line each, without ids."""
    where = "the whole cohort" if card.fold is None else f"the training part of fold {card.fold}"
    yield f"# Pre-trained weights: {card.name}"
    yield ""
    yield f"{card.network}, {card.method}."
    yield ""
    rows = {
        "network": f"{card.network} (stem {card.stem}, {card.slice_axis} slices), without its head",
        "input": f"{', '.join(card.channels)}; {' × '.join(map(str, card.shape))} voxels (D, H, W)",
        "cohort": f"{card.cohort}, {where}: {plural(len(card.subjects), 'volume')} of "
        f"{plural(len(card.patients), 'patient')}",
        "label": f"{card.label}: {', '.join(card.classes)}" if card.label else "none",
        "licence of the data": card.licence or "not given (--licence)",
        "epochs": card.epochs,
        "seed": card.seed,
        **{f"last epoch: {key}": f"{value:.4g}" for key, value in card.final.items()},
        **card.chain,
        "code": card.code.get("commit"),
        "sha256 of weights.pt": card.weights_sha256,
    }
    yield "| | |"
    yield "|---|---|"
    for key, value in rows.items():
        yield f"| {key} | {value} |"
    yield ""
    yield (
        f"{CARD_FILE} lists patient ids and hashes of voxels, since no subject named there may be "
        f"in a test part. Keep it with {WEIGHTS_FILE}; whoever may not see the ids may not have it."
    )
