"""What each fold chose among the candidates of `sweep.select`: a table, notes and a sentence."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stfmri.evidence.tables import Cell, Column, Row, Score, Table
from stfmri.study import selection
from stfmri.study.candidates import fraction_of
from stfmri.study.errors import UserError
from stfmri.study.naming import value_text
from stfmri.study.runs import Sweep
from stfmri.study.selection import Judged, Selection
from stfmri.study.words import listed, percent

LEAST_GRID = 3  # of fewer values every choice lies at an edge
UNORDERED = ("train.seed",)  # numbers of which none is higher than another in any useful sense


@dataclass(frozen=True)
class Chosen:
    """What one run chose."""

    run: str
    variant: str
    fold: int
    selection: Selection


@dataclass(frozen=True)
class Choices:
    """What the runs of a sweep chose.

    Attributes:
        remarks: what is wrong with some of them, a sentence each.
        sentence: how it was chosen, for the methods text; empty where nothing was.
    """

    runs: tuple[Chosen, ...] = ()
    remarks: tuple[str, ...] = ()
    sentence: str = ""

    @property
    def notes(self) -> list[str]:
        """What a reader should know of the choices, a sentence each."""
        return [*edge_notes(self.runs), *self.remarks]


def read_choices(sweep: Sweep) -> Choices:
    """The choices of a sweep's runs; a run that has not chosen yet is left out."""
    if not sweep.candidates:
        return Choices()
    found, remarks = [], []
    for run in sweep.runs:
        try:
            chosen = selection.read(run.folder)
        except UserError as error:
            remarks.append(str(error))
            continue
        if chosen is None:
            continue
        found.append(Chosen(run.name, run.variant, run.fold, chosen))
        if changed := selection.changed_since(run.folder, chosen):
            remarks.append(
                f"{run.name} chose by other predictions of {listed(changed)} than there are now"
            )
    return Choices(tuple(found), tuple(remarks), _sentence(sweep))


def selection_table(choices: Choices) -> Table:
    """A row a run: what it chose, and the validation loss of every candidate."""
    first = choices.runs[0].selection.candidates
    columns = [Column("Run"), Column("Judged on"), Column("Chosen")]
    columns += [Column(words_of(one.values)) for one in first]
    rows = [
        Row(
            [
                one.run,
                one.selection.judged,
                words_of(one.selection.winner.values),
                *map(_loss, one.selection.candidates),
            ]
        )
        for one in choices.runs
    ]
    caption = (
        "Validation loss of every candidate: weighted cross-entropy on a part of the fold's own "
        "training scans. The least is chosen, and trained again on all of them. A dash: training "
        "diverged."
    )
    return Table("selection", "What each fold chose", columns, rows, caption)


def words_of(values: Mapping[str, Any]) -> str:
    """The values of a candidate in few words: `learning_rate 0.0003`."""
    return ", ".join(f"{key.rpartition('.')[2]} {value_text(v)}" for key, v in values.items())


def edge_notes(runs: Sequence[Chosen]) -> list[str]:
    """Values at an edge of their grid that a variant chose in most of its folds."""
    by_variant: dict[str, list[Selection]] = defaultdict(list)
    for one in runs:
        by_variant[one.variant].append(one.selection)
    notes = []
    for variant, selections in by_variant.items():
        for key in selections[0].winner.values:
            notes += _edge_note(variant, key, selections)
    return notes


def _edge_note(variant: str, key: str, selections: Sequence[Selection]) -> list[str]:
    grid = {one.values[key] for item in selections for one in item.candidates if _orders(key, one)}
    if len(grid) < LEAST_GRID:
        return []
    counts = Counter(item.winner.values[key] for item in selections)
    for edge, word in ((min(grid), "least"), (max(grid), "greatest")):
        if counts[edge] > len(selections) / 2:
            return [
                f"{variant} chose the {word} {key} of the grid, {value_text(edge)}, in "
                f"{counts[edge]} of {len(selections)} folds: a better value may lie beyond it"
            ]
    return []


def _orders(key: str, one: Judged) -> bool:
    value = one.values[key]
    return isinstance(value, int | float) and not isinstance(value, bool) and key not in UNORDERED


def _loss(one: Judged) -> Cell:
    return Score(math.nan if one.validation_loss is None else one.validation_loss, digits=4)


def _sentence(sweep: Sweep) -> str:
    select = sweep.config.sweep.select
    keys = [f"{key} ({_alternatives(values)})" for key, values in select.items()]
    several = len(keys) > 1
    return (
        f"In each fold {listed(keys, most=len(keys))} {'were' if several else 'was'} chosen by the "
        f"weighted cross-entropy on a stratified {percent(fraction_of(sweep.config))} of the "
        "fold's own training scans, each patient on one side, after training on the rest of them; "
        f"the network was then trained with the chosen {'values' if several else 'value'} on all "
        "training scans of the fold. No test scan was read before the choice was made."
    )


def _alternatives(values: Sequence[Any]) -> str:
    texts = [value_text(value) for value in values]
    return " or ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def as_plain(choices: Choices) -> dict[str, Any]:
    """For summary.json: each run's choice and the validation losses it was made by."""
    return {
        one.run: {
            "chosen": one.selection.winner.values,
            "trained": one.selection.trained,
            "judged": one.selection.judged,
            "candidates": [
                {"values": item.values, "validation_loss": item.validation_loss}
                for item in one.selection.candidates
            ],
        }
        for one in choices.runs
    }
