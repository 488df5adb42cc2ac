"""A sweep over contrasts: a cache each, the same folds in all, baselines of each told apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from launch import submit
from launch.job import RunBaselines, baselines_by_fold
from stfmri import collect
from stfmri.evidence.baselines.run import run_baselines
from stfmri.learning import training
from stfmri.study import splits
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import UserError
from stfmri.study.runs import Sweep
from stfmri.study.shards import read_index, write_index
from stfmri.study.sweep_file import load_sweep
from tests.launch.conftest import submission
from tests.tiny import CLASSES, tiny_cache, tiny_config

SETS = (("t1ce",), ("flair",), ("t1ce", "flair"))
NAMES = ("t1ce", "flair", "t1ce+flair")
AXIS = "sweep.axes={data.contrasts:[[t1ce],[flair],[t1ce,flair]]}"
BASELINES = "sweep.baselines=[intensity,covariates]"
ASKED = (AXIS, BASELINES, "data.covariates=[age]", "sweep.folds=[0]", "train.epochs=1")


def config_of(root: Path, contrasts: tuple[str, ...]) -> Config:
    data = DataConfig(name="tiny", classes=CLASSES, contrasts=contrasts)
    return tiny_config(root, data=data)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cache of either contrast, and one of both, with an age."""
    for number, contrasts in enumerate(SETS):
        config = config_of(tmp_path, contrasts)
        rows = tiny_cache(config, seed=number)
        aged = [
            replace(row, columns={**row.columns, "age": str(30 + n)}) for n, row in enumerate(rows)
        ]
        write_index(config.cache, aged)
    return tmp_path


@pytest.fixture
def sweep(root: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """The sweep, submitted without anything being run."""
    monkeypatch.setattr(submit, "train_on_this_machine", lambda *rest: None)
    submit.main(submission(root, "cluster=local", *ASKED))
    return load_sweep(root / "runs/demo")


def test_variants_and_image_baselines_are_named_by_their_contrasts(sweep: Sweep) -> None:
    assert [run.variant for run in sweep.runs] == [f"mc3_18-scratch-{name}" for name in NAMES]
    assert [run.variant for run in sweep.baseline_runs] == [
        *(f"baseline-intensity-{name}" for name in NAMES),
        "baseline-covariates",
    ]
    caches = [sweep.config_of(run).cache for run in sweep.baseline_runs]
    assert caches[:3] == [sweep.config_of(run).cache for run in sweep.runs]
    calls = baselines_by_fold(sweep.folder, sweep.baseline_runs)
    assert [(call.names, call.volumes) for call in calls] == [
        *((("intensity",), name) for name in NAMES),
        (("covariates",), ""),
    ]


def test_every_variant_divides_the_same_subjects_in_the_same_way(sweep: Sweep) -> None:
    folds = {splits.ensure(config).folds for config in sweep.by_cache.values()}
    assert len(sweep.by_cache) == 3
    assert len(folds) == 1


def test_a_job_of_baselines_does_its_own_cache_and_no_other(sweep: Sweep) -> None:
    RunBaselines(str(sweep.folder), 0, ("intensity",), "flair")()
    done = {run.variant for run in sweep.baseline_runs if run.is_done()}
    assert done == {"baseline-intensity-flair"}
    record = json.loads(
        (sweep.folder / "baseline-intensity-flair/fold0/provenance.json").read_text()
    )
    assert record["cache"] == config_of(Path(sweep.config.root), ("flair",)).cache.name
    assert record["facts"]["features"] == 64


@pytest.mark.slow
def test_a_sweep_over_contrasts_is_trained_and_reported_variant_by_variant(sweep: Sweep) -> None:
    for run in sweep.runs:
        AcceleratorState._reset_state(reset_partial_state=True)
        training.train_run(run.config_file)
    assert run_baselines(sweep, sweep.baseline_runs) == []
    root = Path(sweep.config.root)
    assert collect.main(["--sweep", "demo", "--root", str(root)]) == 0
    results = root / "results/demo"
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    assert summary["complete"]
    labels = {name: one["label"] for name, one in summary["variants"].items()}
    assert labels == {f"mc3_18-scratch-{name}": f"Mixed Convolution, {name}" for name in NAMES}
    baselines = {name: one["label"] for name, one in summary["baselines"].items()}
    assert baselines == {
        "majority": "Majority class",
        "source_only": "Source only",
        "covariates": "Covariates",
        **{f"intensity-{name}": f"Intensity histogram ({name})" for name in NAMES},
    }
    report = (results / "report.html").read_text(encoding="utf-8")
    for label in (*labels.values(), *baselines.values()):
        assert label in report
    features = [
        json.loads((run.folder / "provenance.json").read_text())["facts"]["features"]
        for run in sweep.baseline_runs[:3]
    ]
    assert features == [64, 64, 128]


def test_caches_of_different_subjects_are_refused_with_the_ways_out(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = config_of(root, ("flair",)).cache
    write_index(cache, read_index(cache)[1:])
    assert submit.main(submission(root, "cluster=local", *ASKED)) == 2
    told = capsys.readouterr().err
    assert f"{cache} lacks LGG-00" in told
    assert "data.exclude=FILE" in told
    assert "data.missing=zeros" in told
    assert not (root / "runs").exists()


def test_subjects_that_are_alike_in_one_contrast_stay_together_in_all(root: Path) -> None:
    """Without this, each cache would draw folds of its own."""
    configs = [config_of(root, contrasts) for contrasts in SETS]
    rows = read_index(configs[1].cache)
    twins = [replace(row, sha256="same") if row.subject_id.endswith("-01") else row for row in rows]
    write_index(configs[1].cache, twins)
    drawn = [
        splits.check(config, [other for other in configs if other is not config])
        for config in configs
    ]
    assert len({split.folds for split in drawn}) == 1
    for fold in drawn[0].folds:
        sides = [
            {name for name in part if name.endswith("-01")} for part in (fold.train, fold.test)
        ]
        assert sum(map(bool, sides)) == 1


def test_folds_that_one_cache_has_already_are_those_of_all(root: Path) -> None:
    configs = [config_of(root, contrasts) for contrasts in SETS]
    older = replace(configs[2], split=replace(configs[2].split, seed=5))
    kept = splits.ensure(older)
    now = [replace(config, split=older.split) for config in configs[:2]]
    assert splits.ensure(now[0], [now[1], older]).folds == kept.folds
    content = json.loads(kept.path.read_text())
    content["folds"].reverse()
    kept.path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="divide the subjects otherwise"):
        splits.check(now[0], [older])
