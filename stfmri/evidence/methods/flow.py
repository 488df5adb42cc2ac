"""From the scans that were found to those that were tested: a flow diagram and its table."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from stfmri.evidence.methods.reasons import Kind, kinds_of, named
from stfmri.evidence.methods.study import Study
from stfmri.evidence.methods.wording import spanned
from stfmri.evidence.tables import Cell, Column, Row, Table
from stfmri.study.words import plural

# Folds printed one by one in the diagram; of more, the range.
MOST_FOLDS = 5

# The drawing's units are CSS pixels at 400 px page width, which holds its whole width.
WIDTH = 372
MAIN_WIDTH, SIDE_WIDTH = 176, 172
LINE, PADDING, GAP = 16, 9, 20
MAIN_CHARACTERS, SIDE_CHARACTERS = 23, 25


@dataclass(frozen=True)
class Part:
    """How many scans of a fold were trained, watched and tested on."""

    fold: int
    train: int
    val: int
    test: int


@dataclass(frozen=True)
class Flow:
    """Counts of scans at each step.

    Attributes:
        rejected: kinds of reason with their counts; None where the cache does not say.
        cached: volumes in the cache.
        used: scans that the split names.
    """

    rejected: tuple[Kind, ...] | None
    cached: int
    used: int
    patients: int
    parts: tuple[Part, ...]

    @property
    def excluded(self) -> int:
        """Scans that gave no volume."""
        return sum(kind.count for kind in self.rejected or ())

    @property
    def found(self) -> int | None:
        """Scans of the cohort; None where it is not known how many were rejected."""
        return None if self.rejected is None else self.cached + self.excluded

    @property
    def unused(self) -> int:
        """Volumes of the cache that no fold uses."""
        return self.cached - self.used


@dataclass(frozen=True)
class Box:
    """A rectangle with lines of text; the first line is bold."""

    x: int
    y: int
    width: int
    height: int
    lines: tuple[str, ...]
    side: bool = False

    @property
    def baselines(self) -> tuple[tuple[int, str], ...]:
        """Each line with the height of its baseline."""
        top = self.y + PADDING + LINE - 4
        return tuple((top + LINE * number, line) for number, line in enumerate(self.lines))


@dataclass(frozen=True)
class Arrow:
    """A straight arrow."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def head(self) -> str:
        """The points of its head, as SVG lists them."""
        if self.x1 == self.x2:
            return f"{self.x2},{self.y2} {self.x2 - 4},{self.y2 - 7} {self.x2 + 4},{self.y2 - 7}"
        return f"{self.x2},{self.y2} {self.x2 - 7},{self.y2 - 4} {self.x2 - 7},{self.y2 + 4}"


@dataclass(frozen=True)
class Drawing:
    """The diagram, to be drawn by `_flow.html.j2` as SVG."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    description: str


def flow_of(study: Study) -> Flow:
    """Count the scans of a study at each step."""
    cohort = study.cohort
    parts = tuple(
        Part(number, len(fold.train), len(fold.val), len(fold.test))
        for number, fold in enumerate(cohort.folds)
    )
    rejected = study.cache.rejected
    return Flow(
        rejected=None if rejected is None else kinds_of(rejected),
        cached=study.cache.volumes,
        used=len(cohort.used),
        patients=len({subject.patient_id for subject in cohort.used}),
        parts=parts,
    )


def flow_table(flow: Flow) -> Table:
    """The same counts as a table, with every reason and every fold."""
    rows: list[Row] = []

    def add(step: str, scans: int | None, note: str = "") -> None:
        cells: list[Cell] = [step, scans, note]
        rows.append(Row(cells))

    add("Scans found", flow.found, "" if flow.found is not None else "not recorded")
    for kind in flow.rejected or ():
        add("Excluded: no usable volume", kind.count, kind.reason)
    add("Preprocessed volumes", flow.cached)
    if flow.unused:
        add("Excluded: in no part of the split", flow.unused)
    add("Used", flow.used, f"of {plural(flow.patients, 'patient')}")
    for part in flow.parts:
        add(f"Fold {part.fold}", part.train + part.val + part.test, _said(part))
    columns = [Column("Step"), Column("Scans"), Column("Note")]
    return Table("flow", "From scans found to scans tested", columns, rows)


def drawing_of(flow: Flow) -> Drawing:
    """Lay the diagram out: steps downwards, exclusions to the right of the arrow they leave."""
    steps: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    known = flow.found is not None
    found = (f"{flow.found:,}", "scans found") if known else ("?", "scans found (not recorded)")
    steps.append((found, _excluded(flow)))
    unused = (f"{flow.unused:,} excluded", "in no part of the split") if flow.unused else ()
    steps.append(((f"{flow.cached:,}", "preprocessed volumes"), unused))
    patients = f"of {plural(flow.patients, 'patient')}"
    steps.append(((f"{flow.used:,}", "scans used", patients), ()))
    steps.append((_folds(flow.parts), ()))
    boxes: list[Box] = []
    arrows: list[Arrow] = []
    y = 1
    middle = 1 + MAIN_WIDTH // 2
    for number, (main, side) in enumerate(steps):
        box = _box(1, y, MAIN_WIDTH, main, MAIN_CHARACTERS)
        boxes.append(box)
        y += box.height
        if number == len(steps) - 1:
            break
        gap = GAP
        if side:
            beside = _box(WIDTH - 1 - SIDE_WIDTH, y + 6, SIDE_WIDTH, side, SIDE_CHARACTERS, True)
            boxes.append(beside)
            gap = beside.height + 12
            level = beside.y + beside.height // 2
            arrows.append(Arrow(middle, level, beside.x, level))
        arrows.append(Arrow(middle, y, middle, y + gap))
        y += gap
    return Drawing(WIDTH, y + 1, tuple(boxes), tuple(arrows), _description(flow))


def _box(
    x: int, y: int, width: int, lines: Sequence[str], characters: int, side: bool = False
) -> Box:
    # Non-breaking, so that no `(n = 3)` is torn in two.
    unbroken = (line.replace(" = ", "\u00a0=\u00a0") for line in lines)
    wrapped = tuple(part for line in unbroken for part in textwrap.wrap(line, characters))
    return Box(x, y, width, LINE * len(wrapped) + 2 * PADDING, wrapped, side)


def _excluded(flow: Flow) -> tuple[str, ...]:
    if not flow.rejected:
        return ()
    return (f"{flow.excluded:,} excluded", *named(flow.rejected))


def _folds(parts: Sequence[Part]) -> tuple[str, ...]:
    if len(parts) <= MOST_FOLDS:
        title = "1 fold" if len(parts) == 1 else f"{len(parts)} folds"
        return (title, *(f"{part.fold}: {_said(part)}" for part in parts))
    watched = [part.val for part in parts]
    lines = [f"{len(parts)} folds, each", f"{spanned([part.train for part in parts])} train"]
    lines += [f"{spanned(watched)} validation"] if any(watched) else []
    return (*lines, f"{spanned([part.test for part in parts])} test")


def _said(part: Part) -> str:
    watched = f", {part.val:,} val." if part.val else ""
    return f"{part.train:,} train{watched}, {part.test:,} test"


def _description(flow: Flow) -> str:
    """The diagram for those who cannot see it."""
    found = "not recorded" if flow.found is None else f"{flow.found:,}"
    return (
        f"Scans found: {found}; excluded: {flow.excluded:,}; preprocessed: {flow.cached:,}; used: "
        f"{flow.used:,}; folds: {len(flow.parts)}."
    )
