"""Which settings a fold may choose among, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from stfmri.study.candidates import candidate_names, candidates_of
from stfmri.study.compose import compose
from stfmri.study.config import Config
from stfmri.study.errors import ConfigError
from stfmri.study.expansion import expand
from stfmri.study.runs import Sweep
from stfmri.study.sweep_file import load_sweep, write_sweep

SMALL = ("sweep.models=[mc3_18]", "sweep.weights=[scratch]")


def make_sweep(root: Path, *overrides: str) -> Sweep:
    def composed(more: Sequence[str] = ()) -> Config:
        return compose([*SMALL, *overrides, *more], sweep="full", root=root)

    def choose(choices: Mapping[str, str]) -> Config:
        return composed([f"{group}={choice}" for group, choice in choices.items()])

    config = composed()
    return Sweep(
        config, expand(config, choose), "full", overrides, candidates=candidates_of(config, choose)
    )


def test_several_keys_make_a_grid_the_last_key_fastest(tmp_path: Path) -> None:
    sweep = make_sweep(
        tmp_path, "sweep.select={train.learning_rate:[1e-4,1e-3],model.dropout:[0.3,0.5]}"
    )
    assert [one.values for one in sweep.candidates] == [
        {"train.learning_rate": 1e-4, "model.dropout": 0.3},
        {"train.learning_rate": 1e-4, "model.dropout": 0.5},
        {"train.learning_rate": 1e-3, "model.dropout": 0.3},
        {"train.learning_rate": 1e-3, "model.dropout": 0.5},
    ]
    assert [one.name for one in sweep.candidates] == candidate_names(sweep.config)
    assert sweep.candidates[1].name == "learning_rate-0.0001-dropout-0.5"


def test_a_group_of_settings_is_a_candidate_with_all_its_values(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, "sweep.select={augment:[light,heavy]}", "train.seed=3")
    [run, *_] = sweep.runs
    light, heavy = (sweep.config_of(inner) for inner in sweep.inner_runs(run))
    assert light.augment == compose(["augment=light"], root=tmp_path).augment
    assert heavy.augment == compose(["augment=heavy"], root=tmp_path).augment
    assert heavy.train == sweep.config_of(run).train


def test_an_inner_run_differs_from_its_run_in_the_candidate_and_the_split_alone(
    tmp_path: Path,
) -> None:
    sweep = make_sweep(tmp_path, "sweep.select={train.learning_rate:[1e-4,1e-3]}")
    write_sweep(sweep)
    sweep = load_sweep(sweep.folder)
    run = sweep.runs[1]
    _, inner = sweep.inner_runs(run)
    assert inner.name == "mc3_18-scratch/fold1/select/learning_rate-0.001"
    assert inner.folder == run.folder / "select" / "learning_rate-0.001"
    ours, theirs = sweep.config_of(inner), sweep.config_of(run)
    assert ours.train.learning_rate == 1e-3
    assert ours.split.inner == 0.25
    assert ours.split.fold == theirs.split.fold == 1
    assert ours.sweep.select == {}
    assert theirs.sweep.select == {"train.learning_rate": (1e-4, 1e-3)}
    assert theirs.split.inner == 0


def test_the_judging_share_is_that_of_the_validation_part_where_there_is_one(
    tmp_path: Path,
) -> None:
    select = "sweep.select={train.learning_rate:[1e-4,1e-3]}"
    sweep = make_sweep(tmp_path, select, "split.val_fraction=0.2")
    assert sweep.config_of(sweep.networks[0]).split.inner == 0.2


@pytest.mark.parametrize(
    ("select", "complaint"),
    [
        ("{split.seed:[0,1]}", r"cannot choose split\.seed"),
        ("{preprocessing.spacing_mm:[2,4]}", r"cannot choose preprocessing"),
        ("{model.name:[mc3_18,r3d_18]}", r"cannot choose model\.name"),
        ("{model:[mc3_18,r3d_18]}", r"cannot choose model "),
        ("{train.learning:[1,2]}", "neither a group nor a key"),
        ("{train.learning_rate:[]}", "lists no values"),
        ("{train.learning_rate:[1e-3]}", "lists one candidate"),
        ("{train.learning_rate:[1e-3,0.001]}", "lists the same candidate twice"),
        ("{train.learning_rate:[1e-3,-1]}", r"learning_rate must be above 0"),
        ("{train.learning_rate:[1e-3,fast]}", r"must be a finite number"),
    ],
)
def test_what_cannot_be_chosen_in_a_fold_is_refused(
    tmp_path: Path, select: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        make_sweep(tmp_path, f"sweep.select={select}")


def test_a_setting_is_compared_or_chosen_and_not_both(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="either compared or chosen"):
        make_sweep(
            tmp_path, "sweep.axes={augment:[light,none]}", "sweep.select={augment.degrees:[5,10]}"
        )
