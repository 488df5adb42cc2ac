"""What the report says of the choices that folds made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stfmri.evidence.chosen import read_choices, selection_table
from stfmri.evidence.collecting import collect_evidence
from stfmri.evidence.methods.method_text import method_paragraphs
from stfmri.evidence.summarise import summarise
from stfmri.evidence.summary_json import as_json
from stfmri.evidence.tables import to_csv
from stfmri.study import config as configuration
from stfmri.study import selection
from stfmri.study.candidates import candidates_of
from stfmri.study.files import write_atomic
from stfmri.study.runs import Sweep
from stfmri.study.selection import Judged, Selection
from stfmri.study.sweep_file import write_sweep
from tests.evidence.sweeps import make_sweep

RATES = (1e-4, 3e-4, 1e-3)


def choosing_sweep(root: Path, chosen: Sequence[int], key: str = "train.learning_rate") -> Sweep:
    """A sweep of one variant whose fold k has chosen the value of number `chosen[k]`."""
    values = RATES if key == "train.learning_rate" else (0, 1, 2)
    sweep = make_sweep(root, accuracies={"r3d_18-scratch": 0.8}, folds=len(chosen), reference="")
    config = replace(sweep.config, sweep=replace(sweep.config.sweep, select={key: values}))
    found = candidates_of(config, lambda choices: config)
    sweep = replace(sweep, config=config, candidates=found)
    write_sweep(sweep)
    for run, number in zip(sweep.runs, chosen, strict=True):
        judged = tuple(
            Judged(one.name, one.values, 0.5 if place == number else 0.6 + place / 100)
            for place, one in enumerate(found)
        )
        name = found[number].name
        record = Selection(run.fold, 0.25, 21, 7, "inner.json", "0" * 64, judged, name)
        selection.write(run.folder, record)
        inner = sweep.inner_runs(run)[number]
        trained = replace(sweep.config_of(inner), split=sweep.config_of(run).split)
        configuration.save(trained, run.folder / selection.SELECTED_FILE)
    return sweep


def test_the_table_has_each_runs_choice_and_every_loss(tmp_path: Path) -> None:
    sweep = choosing_sweep(tmp_path, [0, 1, 1])
    lines = to_csv(selection_table(read_choices(sweep))).splitlines()
    assert lines[0].split(",")[:4] == ["Run", "Judged on", "Chosen", "learning_rate 0.0001"]
    assert lines[1] == "r3d_18-scratch/fold0,7,learning_rate 0.0001,0.5,0.61,0.62"
    assert lines[2] == "r3d_18-scratch/fold1,7,learning_rate 0.0003,0.6,0.5,0.62"


def test_methods_and_summary_say_what_was_chosen_and_how(tmp_path: Path) -> None:
    sweep = choosing_sweep(tmp_path, [0, 1, 1])
    evidence = collect_evidence(sweep)
    assert evidence.study is not None
    text = " ".join(one.text for one in method_paragraphs(evidence.study))
    assert (
        "In each fold train.learning_rate (0.0001, 0.0003 or 0.001) was chosen by the weighted "
        "cross-entropy on a stratified 25 % of the fold's own training scans" in text
    )
    assert "with a learning rate of 0.0001 or 0.0003 (kept constant)" in text
    assert "No model was selected" not in text
    assert "Variants differ" not in text
    content = as_json(summarise(evidence))["select"]
    assert content["r3d_18-scratch/fold1"]["chosen"] == {"train.learning_rate": 3e-4}
    losses = [one["validation_loss"] for one in content["r3d_18-scratch/fold1"]["candidates"]]
    assert losses == [0.6, 0.5, 0.62]


@pytest.mark.parametrize(
    ("chosen", "key", "note"),
    [
        ([2, 2, 1], "train.learning_rate", "the greatest train.learning_rate of the grid, 0.001"),
        ([0, 0, 2], "train.learning_rate", "the least train.learning_rate of the grid, 0.0001"),
        ([0, 1, 2], "train.learning_rate", ""),
        ([1, 1, 1], "train.learning_rate", ""),
        ([2, 2, 2], "train.seed", ""),  # a seed is no higher than another
    ],
)
def test_a_value_at_the_edge_of_its_grid_in_most_folds_is_noted(
    tmp_path: Path, chosen: list[int], key: str, note: str
) -> None:
    notes = read_choices(choosing_sweep(tmp_path, chosen, key)).notes
    assert [note in one for one in notes] == ([True] if note else [])
    if note:
        assert "in 2 of 3 folds: a better value may lie beyond it" in notes[0]


def test_inner_predictions_that_changed_since_the_choice_are_pointed_out(tmp_path: Path) -> None:
    sweep = choosing_sweep(tmp_path, [0, 1])
    inner = sweep.inner_runs(sweep.runs[1])[0]
    write_atomic(inner.folder / "predictions.csv", "other")
    [remark] = read_choices(sweep).remarks
    assert "r3d_18-scratch/fold1 chose by other predictions of learning_rate-0.0001" in remark


def test_a_sweep_that_chooses_nothing_has_no_such_table(tmp_path: Path) -> None:
    evidence = collect_evidence(make_sweep(tmp_path))
    assert evidence.chosen.runs == ()
    assert evidence.study is not None
    assert evidence.study.choosing == ""
