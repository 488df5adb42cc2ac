"""Where answers go: the screen, a table, a page, an external test."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from launch.cli import console
from launch.prediction import external, page, sheet
from launch.prediction.answers import Answer
from launch.prediction.examine import Examined
from launch.prediction.familiar import ordinal
from launch.prediction.runs import Chosen, default_folder
from stfmri.learning.models import Trained
from stfmri.study.files import absolute, write_atomic
from stfmri.study.words import listed

MOST_SHOWN = 20  # warnings that are printed; files hold all
DISTANCE = (
    "distance: of intensities and volume from those of the training scans, as a percentile of "
    "theirs from one another"
)


@dataclass(frozen=True)
class Told:
    """All that came of a call."""

    chosen: Chosen
    first: Trained
    answers: tuple[Answer, ...]
    refused: tuple[Examined, ...]

    @property
    def caution(self) -> str:
        """What the networks were trained on."""
        config = self.first.config
        count = len(self.chosen.runs)
        averaged = f" ({count} networks, averaged)" if count > 1 else ""
        return (
            f"for research only: {self.chosen.name}{averaged} was trained on the cohort "
            f"{config.data.name} at {config.preprocessing.spacing_mm:g} mm; scans of another "
            "scanner or sequence may mislead it"
        )

    @property
    def meaning(self) -> str:
        """What the probabilities are of."""
        data, count = self.first.config.data, len(self.chosen.runs)
        mean = f" (means over {count} networks)" if count > 1 else ""
        return (
            f"probabilities are of the classes in the column {data.label}, as learned on the "
            f"cohort {data.name}{mean}; they are off where a class is more or less frequent than "
            "there"
        )


def on_screen(told: Told) -> None:
    """The table of probabilities, and below it what to know and what to doubt."""
    for one in told.refused:
        print(f"error: {one.scan.subject_id}: {one.reason}", file=sys.stderr)
    for note in told.chosen.notes:
        print(f"note: {note}", file=sys.stderr)
    if not told.answers:
        return
    out = console()
    classes = told.first.classes
    header = ("scan", "prediction", *classes, "distance", "brain mask")
    table = Table(*header, box=None, pad_edge=False)
    for title, answer in zip(titles(told.answers), told.answers, strict=True):
        cells = [_cell(answer, number) for number in range(len(classes))]
        table.add_row(title, answer.prediction, *cells, _distance(answer), answer.brain)
    out.print(table)
    if any(answer.familiarity is not None for answer in told.answers):
        out.print(DISTANCE, soft_wrap=True)
    out.print(told.caution, soft_wrap=True)
    out.print(told.meaning, soft_wrap=True)
    warnings = _warnings(told.answers)
    for text in warnings[:MOST_SHOWN]:
        print(f"warning: {text}", file=sys.stderr)
    if len(warnings) > MOST_SHOWN:
        rest = len(warnings) - MOST_SHOWN
        print(f"warning: and {rest} more; --report shows all of them", file=sys.stderr)


def _warnings(answers: Sequence[Answer]) -> list[str]:
    """Every warning once, with the scans that it is of."""
    scans: dict[str, list[str]] = {}
    for title, answer in zip(titles(answers), answers, strict=True):
        for text in answer.warnings:
            scans.setdefault(text, []).append(title)
    return [f"{listed(names)}: {text}" for text, names in scans.items()]


def titles(answers: Sequence[Answer]) -> list[str]:
    """A name for each scan: without its folder, where that tells all of them apart."""
    short = [Path(answer.name).name for answer in answers]
    return short if len(set(short)) == len(short) else [answer.name for answer in answers]


def as_table(told: Told, file: Path) -> None:
    """Write the answers as CSV."""
    write_atomic(absolute(file), sheet.as_csv(told.answers, told.refused, told.first.classes))
    _written(file)


def as_page(told: Told, file: Path) -> None:
    """Write the answers as a page."""
    text = page.render(
        told.chosen.name,
        told.chosen.labels,
        told.answers,
        told.refused,
        classes=told.first.classes,
        caution=told.caution,
        meaning=told.meaning,
        notes=told.chosen.notes,
    )
    write_atomic(absolute(file), text)
    _written(file)


def as_external_test(told: Told, table: Path, folder: Path | None) -> None:
    """Write the predictions of a cohort, and the report on them.

    Args:
        folder: None: `external-<table>` in the current folder.

    Raises:
        LeakageError: where a network was trained on one of the scans.
        UserError: where no scan was answered.
    """
    target = absolute(folder or default_folder(table))
    written = external.write(
        target,
        told.answers,
        told.refused,
        table=table,
        variant=told.chosen.name,
        networks=len(told.chosen.runs),
        further=[f"{note}." for note in told.chosen.notes],
    )
    _written(written)


def _cell(answer: Answer, number: int) -> str:
    """A probability; of several networks with their range."""
    said_F = answer.probability_FK[:, number]
    mean = f"{answer.probability_K[number]:.4f}"
    if len(said_F) == 1:
        return mean
    return f"{mean} ({said_F.min():.2f}–{said_F.max():.2f})"


def _distance(answer: Answer) -> str:
    known = answer.familiarity
    if known is None:
        return "not known"
    return "outside" if known.is_outside else f"{ordinal(known.percentile)} percentile"


def _written(path: Path) -> None:
    console().print(f"written: {path}", soft_wrap=True)
