"""What a sweep expands to, and which of its runs are done."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from stfmri.study.errors import ConfigError
from stfmri.study.overrides import flatten
from stfmri.study.runs import Run
from stfmri.study.sweep_file import load_sweep, write_sweep
from tests.study.composed import make_sweep


def test_the_papers_comparison_has_18_runs_in_6_variants(tmp_path: Path) -> None:
    runs = make_sweep(tmp_path).runs
    assert len(runs) == 18
    assert len({run.variant for run in runs}) == 6
    assert {run.fold for run in runs} == {0, 1, 2}
    assert runs[0].folder == tmp_path / "runs/full/r3d_18-scratch/fold0"


def test_a_variant_is_named_by_its_axes_in_the_sweeps_order(tmp_path: Path) -> None:
    axes = "sweep.axes={train.learning_rate:[1e-4,3e-5],augment:[light,none]}"
    sweep = make_sweep(tmp_path, axes, "sweep.models=[mc3_18]", "sweep.weights=[scratch]")
    assert [run.variant for run in sweep.runs[::3]] == [
        "mc3_18-scratch-0.0001-light",
        "mc3_18-scratch-0.0001-none",
        "mc3_18-scratch-3e-05-light",
        "mc3_18-scratch-3e-05-none",
    ]
    config = sweep.config_of(sweep.runs[-1])
    assert config.train.learning_rate == 3e-5
    assert config.augment.kind == "none"
    assert config.model.name == "mc3_18"
    assert config.split.fold == 2


def test_each_seed_is_a_run_of_the_same_variant_in_a_folder_of_its_own(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, "sweep.seeds=[0,7]", "sweep.models=[mc3_18]", "split.n=2")
    assert [run.name for run in sweep.runs[:4]] == [
        "mc3_18-scratch/seed0/fold0",
        "mc3_18-scratch/seed0/fold1",
        "mc3_18-scratch/seed7/fold0",
        "mc3_18-scratch/seed7/fold1",
    ]
    assert sweep.runs[3].folder == tmp_path / "runs/full/mc3_18-scratch/seed7/fold1"
    assert [run.seed for run in sweep.runs[:4]] == [0, 0, 7, 7]
    assert [sweep.config_of(run).train.seed for run in sweep.runs[:4]] == [0, 0, 7, 7]
    assert {run.variant for run in sweep.runs} == {"mc3_18-scratch", "mc3_18-kinetics"}
    write_sweep(sweep)
    assert load_sweep(sweep.folder) == sweep


def test_parts_of_the_training_subjects_are_variants_with_one_split_file(tmp_path: Path) -> None:
    axis = "sweep.axes={split.train_fraction:[0.25,1.0],augment:[light,none]}"
    sweep = make_sweep(tmp_path, axis, "sweep.models=[mc3_18]", "sweep.weights=[scratch]")
    assert [(run.variant, run.train_fraction, run.curve) for run in sweep.runs[::3]] == [
        ("mc3_18-scratch-0.25-light", 0.25, "mc3_18-scratch-light"),
        ("mc3_18-scratch-0.25-none", 0.25, "mc3_18-scratch-none"),
        ("mc3_18-scratch-1-light", 1.0, "mc3_18-scratch-light"),
        ("mc3_18-scratch-1-none", 1.0, "mc3_18-scratch-none"),
    ]
    assert len({sweep.config_of(run).split_file for run in sweep.runs}) == 1
    assert sweep.config_of(sweep.runs[0]).split.train_fraction == 0.25
    write_sweep(sweep)
    assert load_sweep(sweep.folder) == sweep


def test_baselines_are_fitted_to_each_part_of_the_training_subjects(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, "sweep.axes={split.train_fraction:[0.25,0.5,1.0]}", "split.n=1")
    sweep = replace(sweep, baselines=("intensity", "covariates"), blind=("covariates",))
    assert [(run.name, run.train_fraction) for run in sweep.baseline_runs] == [
        ("baseline-intensity-train_0.25/fold0", 0.25),
        ("baseline-intensity-train_0.5/fold0", 0.5),
        ("baseline-intensity/fold0", 1.0),
        ("baseline-covariates-train_0.25/fold0", 0.25),
        ("baseline-covariates-train_0.5/fold0", 0.5),
        ("baseline-covariates/fold0", 1.0),
    ]
    for run in sweep.baseline_runs:
        assert sweep.config_of(run).split.train_fraction == run.train_fraction


def test_a_single_seed_lies_where_a_sweep_without_seeds_does(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, "sweep.seeds=[7]")
    assert sweep.runs[0].name == "r3d_18-scratch/fold0"
    assert sweep.config_of(sweep.runs[0]).train.seed == 7


def test_a_run_differs_from_its_sweep_in_what_it_lists_and_nothing_else(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, "sweep.axes={augment:[none,heavy]}", "model.dropout=0.5")
    for run in sweep.runs:
        common, own = flatten(sweep.config), flatten(sweep.config_of(run))
        # Which other variants there are is the sweep's to know: a thousand runs that each held a
        # thousand values would cost a million.
        assert common.pop("sweep.axes")
        assert not own.pop("sweep.axes")
        assert {key for key in own if own[key] != common[key]} <= set(run.overrides)
        assert own["model.dropout"] == 0.5
        assert own["model.weights_name"].startswith(run.model)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["sweep.axes={data:[table]}"], "data cannot be an axis"),
        (["sweep.axes={split.seed:[1,2]}"], "split.seed cannot be an axis"),
        (["sweep.axes={model:[r3d_18]}"], "sweep.models"),
        (["sweep.axes={train.epoch:[1]}"], "neither a group nor a key"),
        (["sweep.axes={train.epochs:[]}"], "lists no values"),
        (["sweep.axes={train.epochs:[a]}"], "whole number"),
        (["sweep.axes={augment:[lite]}"], "augment=lite is not known"),
        (["sweep.axes={train.epochs:[3,3]}"], "both called"),
        (["sweep.models=[r3d]"], "model=r3d is not known"),
        (["sweep.weights=[imagenet]"], "model.weights must be one of"),
        (["sweep.folds=[3]"], "split.fold"),
        (["sweep.folds=[-1]"], "split.fold"),
        (["sweep.folds=[1,0,1]"], "names a fold twice"),
        (["sweep.seeds=[1,0,1]"], "names a seed twice"),
        (["split.train_fraction=0"], "split.train_fraction must lie in (0, 1]"),
        (["sweep.axes={split.train_fraction:[0.5,2]}"], "split.train_fraction must lie in"),
        (["sweep.seeds=[0,1]", "train.seed=3"], "train.seed=3 is none of sweep.seeds"),
        (["sweep.seeds=[-1]"], "sweep.seeds must be at least 0"),
        (["sweep.seeds=[0,1]", "sweep.axes={train.seed:[0,1]}"], "use sweep.seeds"),
        (["sweep.axes={model.stem:[factorised]}"], "model.stem of r2plus1d_18 must be one of"),
    ],
)
def test_axes_that_make_no_sense_are_refused(
    tmp_path: Path, overrides: list[str], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make_sweep(tmp_path, *overrides)
    assert says in str(caught.value)


def test_a_sweep_over_voxel_sizes_is_judged_by_a_cache_that_it_has(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, "sweep.axes={preprocessing.spacing_mm:[8,4]}")
    assert sweep.cache.name.startswith("brats_ixi-8mm-")
    assert sweep.splits.parent == sweep.cache / "splits"


@pytest.mark.parametrize(
    "other",
    [
        "data.contrasts=[t1,t2]",
        "data.missing=zeros",
        "preprocessing.field_mm=[160,192.5,156]",
        "preprocessing.percentiles=[5,95]",
        "preprocessing.skullstrip=fsl",
        "preprocessing.bias=n4",
        "preprocessing.register=mni",
        "preprocessing.antialias=false",
    ],
)
def test_what_decides_a_voxel_has_a_cache_of_its_own(tmp_path: Path, other: str) -> None:
    assert make_sweep(tmp_path, other).cache != make_sweep(tmp_path).cache


def test_what_decides_no_voxel_shares_the_cache(tmp_path: Path) -> None:
    other = make_sweep(tmp_path, "preprocessing.jobs=3", "preprocessing.shard_volumes=2")
    assert other.cache == make_sweep(tmp_path).cache


def test_an_axis_over_preprocessing_reads_one_cache_a_value(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, "sweep.axes={preprocessing.percentiles:[[0.5,99.5],[5,95]]}")
    assert len(sweep.by_cache) == 2


def test_a_thousand_runs_are_expanded_written_and_read_in_seconds(tmp_path: Path) -> None:
    started = time.process_time()
    axes = "sweep.axes={augment:[light,none,heavy],train.learning_rate:[1e-4,1e-5]}"
    sweep = make_sweep(tmp_path, axes, "split.n=56", "sweep.weights=[scratch]")
    write_sweep(sweep)
    assert load_sweep(sweep.folder).runs == sweep.runs
    assert not any(run.is_done() for run in sweep.runs)
    assert len(sweep.runs) == 1008
    assert time.process_time() - started < 6  # of this process alone; 1 s on an idle machine


def test_a_run_with_a_torn_table_is_not_done(tmp_path: Path) -> None:
    run = Run("v", "r3d_18", "scratch", 0, tmp_path)
    assert not run.is_done()
    header = "subject_id,patient_id,source,fold,split,label,prediction,prob_a,prob_b\n"
    (tmp_path / "predictions.csv").write_text(header + "s,p,x,0,test,a,a,0.9,0.", encoding="utf-8")
    assert not run.is_done()
    (tmp_path / "predictions.csv").write_text(
        header + "s,p,x,0,test,a,a,0.9,0.1\n", encoding="utf-8"
    )
    assert run.is_done()
    # Of another fold, as after copying a run's folder by hand.
    assert not Run("v", "r3d_18", "scratch", 1, tmp_path).is_done()
