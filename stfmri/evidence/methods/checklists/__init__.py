"""Reporting checklists, filled in as far as a study can: CLAIM 2024 and TRIPOD+AI.

A checklist is a YAML file in this package; adding one adds a file and its name to `CHECKLISTS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from stfmri.evidence.methods.checklists.answers import ANSWERS, Material
from stfmri.evidence.methods.method_text import Paragraph
from stfmri.evidence.methods.study import Study
from stfmri.evidence.tables import Column, Row, Table
from stfmri.study.serialise import from_dict, load_yaml

CHECKLISTS = ("claim2024", "tripod_ai")
MARK = "To be filled in by the authors"


@dataclass(frozen=True)
class Item:
    """One item as its file has it.

    Attributes:
        answer: name of the function in `answers.ANSWERS` that answers it; empty for none.
        authors: what only the authors can add; empty where the answer is the whole of it.
    """

    number: str
    section: str
    text: str
    answer: str = ""
    authors: str = ""


@dataclass(frozen=True)
class Checklist:
    """A published checklist, its items in our own words."""

    name: str
    title: str
    citation: str
    doi: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Filled:
    """An item with what this study answers; `to_fill` is the mark, or empty where none is due."""

    item: Item
    answer: str
    to_fill: str


@dataclass(frozen=True)
class FilledChecklist:
    """A checklist and its items, filled in as far as can be."""

    checklist: Checklist
    items: tuple[Filled, ...]

    @property
    def answered(self) -> int:
        """How many items the study answers, at least in part."""
        return sum(bool(filled.answer) for filled in self.items)


def read_checklist(name: str) -> Checklist:
    """Read one of `CHECKLISTS`.

    Raises:
        ConfigError: where the file has an unknown key or a value of another type.
    """
    file = resources.files(__package__) / f"{name}.yaml"
    text = file.read_text(encoding="utf-8")
    values = load_yaml(text, file.name)
    items = tuple(from_dict(Item, item, file=file.name) for item in values.pop("items"))
    return Checklist(**values, items=items)


def fill(checklist: Checklist, study: Study, paragraphs: Sequence[Paragraph]) -> FilledChecklist:
    """Answer what can be answered, and mark the rest for the authors."""
    material = Material(study, {item.heading: item.text for item in paragraphs})
    return FilledChecklist(checklist, tuple(_fill(item, material) for item in checklist.items))


def checklist_table(filled: FilledChecklist) -> Table:
    """The checklist as a table, for CSV and Markdown."""
    rows = [
        Row([one.item.number, one.item.section, one.item.text, one.answer, one.to_fill])
        for one in filled.items
    ]
    names = ("Item", "Section", "Asks for", "From this study", "Left to the authors")
    checklist = filled.checklist
    return Table(
        f"checklist_{checklist.name}",
        f"{checklist.title} checklist",
        [Column(name) for name in names],
        rows,
        f"Items paraphrased after {checklist.citation} https://doi.org/{checklist.doi}",
    )


def _fill(item: Item, material: Material) -> Filled:
    answer = ANSWERS[item.answer](material).strip() if item.answer else ""
    if answer and not item.authors:
        return Filled(item, answer, "")
    return Filled(item, answer, f"{MARK}: {item.authors}" if item.authors else MARK)
