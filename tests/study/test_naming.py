"""Variants and the volumes that they read are named by what sets them apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig, PreprocessingConfig
from stfmri.study.naming import folder_part, variant_name, volumes_names
from stfmri.study.runs import Sweep
from stfmri.study.sweep_file import load_sweep, write_sweep
from tests.study.composed import make_sweep

ONE = ("sweep.models=[mc3_18]", "sweep.weights=[scratch]", "sweep.folds=[0]")


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (["none"], "mc3_18-scratch-none"),
        ([["t1ce"]], "mc3_18-scratch-t1ce"),
        ([["t1ce", "flair"]], "mc3_18-scratch-t1ce+flair"),
        ([[0.5, 99.5], True], "mc3_18-scratch-0.5_99.5-true"),
        ([[]], "mc3_18-scratch-none"),
        (["a b/c"], "mc3_18-scratch-a_b_c"),
    ],
)
def test_a_variant_is_named_by_its_values(values: list[object], name: str) -> None:
    assert variant_name("mc3_18", "scratch", values) == name


def test_volumes_are_named_by_what_differs_and_a_single_preprocessing_is_not() -> None:
    def chain(mm: float, *contrasts: str) -> dict[str, object]:
        preprocessing = PreprocessingConfig(spacing_mm=mm)
        return Config(data=DataConfig(contrasts=contrasts), preprocessing=preprocessing).chain

    assert volumes_names([chain(4.0)]) == [""]
    assert volumes_names([chain(4.0), chain(2.0)]) == ["spacing_mm 4", "spacing_mm 2"]
    assert volumes_names([chain(4.0, "t1"), chain(4.0, "t1", "t2")]) == ["t1", "t1+t2"]
    assert volumes_names([chain(4.0, "t1"), chain(2.0, "t2")]) == [
        "t1, spacing_mm 4",
        "t2, spacing_mm 2",
    ]
    assert folder_part("t1, spacing_mm 4") == "t1_spacing_mm_4"
    long = [folder_part(f"t1, {'spacing_mm 4, ' * 20}{number}") for number in range(2)]
    assert len({*long}) == 2
    assert max(map(len, long)) < 60


def test_baselines_that_see_images_run_on_each_cache_and_others_once(tmp_path: Path) -> None:
    made = make_sweep(tmp_path, "sweep.axes={preprocessing.spacing_mm:[8,4]}", *ONE)
    sweep = Sweep(made.config, made.runs, "full", (), ("intensity", "covariates"), ("covariates",))
    assert [run.name for run in sweep.baseline_runs] == [
        "baseline-intensity-spacing_mm_8/fold0",
        "baseline-intensity-spacing_mm_4/fold0",
        "baseline-covariates/fold0",
    ]
    spacings = [sweep.config_of(run).preprocessing.spacing_mm for run in sweep.baseline_runs]
    assert spacings == [8.0, 4.0, 8.0]
    write_sweep(sweep)
    assert load_sweep(sweep.folder) == sweep


def test_of_one_cache_baselines_have_no_more_in_their_names(tmp_path: Path) -> None:
    made = make_sweep(tmp_path, "sweep.axes={augment:[light,none]}", *ONE)
    sweep = Sweep(made.config, made.runs, "full", (), ("intensity", "covariates"), ("covariates",))
    assert [run.name for run in sweep.baseline_runs] == [
        "baseline-intensity/fold0",
        "baseline-covariates/fold0",
    ]
