"""Splits from submission to results: folds that the data gives, their hash, what is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from launch import submit
from stfmri import collect
from stfmri.evidence.cohort import read_cohort
from stfmri.learning import training
from stfmri.study import config as configuration
from stfmri.study import predictions, splits
from stfmri.study.config import Config
from stfmri.study.errors import UserError
from stfmri.study.runs import Run
from stfmri.study.shards import read_index, write_index
from stfmri.study.sweep_file import load_sweep, write_sweep
from tests.launch.conftest import TINY, submission
from tests.launch.test_submit import everything_in
from tests.tiny import CLASSES, tiny_cache, tiny_config

DATA_GIVES = [text for text in TINY if text != "split.n=2"]


@pytest.fixture(autouse=True)
def _no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.cluster.has_slurm", lambda: False)
    monkeypatch.setattr("launch.states.has_slurm", lambda: False)


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that would be trained on this machine; none is."""
    runs: list[Run] = []
    monkeypatch.setattr(
        submit, "train_on_this_machine", lambda out, sweep, some, cluster, code: runs.extend(some)
    )
    return runs


def asking(root: Path, *more: str) -> list[str]:
    """As `submission`, the number of folds left to the data."""
    return ["--sweep", "demo", "--root", str(root), *DATA_GIVES, *more]


def spread_over_sites(config: Config, sites: int) -> None:
    """Give each class to every site, and write the site as the user's fold too."""
    rows = read_index(config.cache)
    names = [f"site-{number % sites}" for number in range(len(rows))]
    changed = [
        replace(row, source=name, columns={**row.columns, "fold": name[-1]})
        for row, name in zip(rows, names, strict=True)
    ]
    write_index(config.cache, changed)


@pytest.mark.parametrize(("choice", "folds"), [("source", 2), ("column", 2)])
def test_a_sweep_has_as_many_folds_as_the_data_gives(
    root: Path, handed_over: list[Run], choice: str, folds: int
) -> None:
    config = tiny_config(root)
    spread_over_sites(config, 2)
    call = asking(root, f"split={choice}", "sweep.axes={train.weight_decay:[0.1,0.2]}")
    submit.main(call)
    assert len(handed_over) == 2 * folds
    for run in handed_over:
        frozen = configuration.load(run.config_file)
        assert frozen.split.n == folds
        assert frozen.split.column == ("fold" if choice == "column" else "")
        assert frozen.split.sha256 == splits.ensure(frozen).sha256
    # The same again, with the overrides and without, also when the data has grown since.
    spread_over_sites(config, 1)
    before = (root / "runs/demo/sweep.yaml").read_bytes()
    for again in (call, ["--sweep", "demo", "--root", str(root)]):
        submit.main([*again, "--dry-run"])
    assert (root / "runs/demo/sweep.yaml").read_bytes() == before


def test_a_fold_that_the_data_does_not_have_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spread_over_sites(tiny_config(root), 2)
    assert submit.main(asking(root, "split=source", "sweep.folds=[2]")) == 2
    assert "split.fold must lie in 0–1" in capsys.readouterr().err
    assert submit.main(asking(root, "split=source", "split.n=2")) == 2
    assert "takes the number of folds from the data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "command"),
    [
        (("split=source", "data.name=none"), "data.name=none"),
        (("split=external", "data.external=none"), "data.name=none"),
    ],
)
def test_without_the_data_the_command_that_builds_it_is_named(
    root: Path, more: tuple[str, ...], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything_in(root)
    assert submit.main(asking(root, *more, "--dry-run")) == 2
    said = capsys.readouterr().err
    assert "build them: python -m preprocessing" in said
    assert command in said
    assert "preprocessing.spacing_mm=10" in said
    assert everything_in(root) == before


def test_voxel_sizes_as_an_axis_have_a_split_each(root: Path, handed_over: list[Run]) -> None:
    other = tiny_config(root)
    other = replace(other, preprocessing=replace(other.preprocessing, spacing_mm=20))
    tiny_cache(other, seed=5)
    submit.main(submission(root, "sweep.axes={preprocessing.spacing_mm:[10,20]}"))
    frozen = [configuration.load(run.config_file) for run in handed_over]
    assert len({config.split.sha256 for config in frozen}) == 2
    for config in frozen:
        assert config.split.sha256 == splits.ensure(config).sha256
    sweep = load_sweep(root / "runs/demo")
    assert [sweep.config_of(run).split for run in sweep.runs] == [c.split for c in frozen]


def test_an_edited_split_is_noticed_at_submission_training_and_collection(
    root: Path, handed_over: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    submit.main(submission(root))
    sweep = load_sweep(root / "runs/demo")
    assert sweep.split_sha256 == splits.read_file(sweep.splits).sha256
    content = json.loads(sweep.splits.read_text(encoding="utf-8"))
    first, second = content["folds"]
    content["folds"] = [second, first]
    sweep.splits.write_text(json.dumps(content), encoding="utf-8")
    capsys.readouterr()
    assert submit.main(submission(root)) == 2
    assert "is not the split that this sweep was submitted with" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"random-label-2-0\.json is not the split"):
        training.train_run(handed_over[0].config_file)
    assert collect.main(["--sweep", "demo", "--root", str(root), "--allow-partial"]) == 2
    assert "is not the split that this sweep was submitted with" in capsys.readouterr().err


def test_a_sweep_older_than_the_hash_goes_on_with_a_note(
    root: Path, handed_over: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    submit.main(submission(root))
    sweep = load_sweep(root / "runs/demo")
    old = replace(sweep, config=replace(sweep.config, split=replace(sweep.config.split, sha256="")))
    write_sweep(old)
    capsys.readouterr()
    submit.main(submission(root))
    assert splits.UNHASHED in " ".join(capsys.readouterr().out.split())
    cohort = read_cohort(sweep.cache, sweep.splits, CLASSES)
    assert splits.UNHASHED in cohort.notes
    assert (
        splits.UNHASHED
        not in read_cohort(sweep.cache, sweep.splits, CLASSES, sha256=sweep.split_sha256).notes
    )


def test_weak_points_of_a_split_are_said_also_in_a_dry_run(
    root: Path, handed_over: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    for more in (("--dry-run",), ()):
        submit.main(submission(root, *more))
        assert "split: class shares differ" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("table", [False, True])
def test_a_class_that_nobody_has_is_refused_also_in_a_dry_run(
    root: Path, table: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["data.classes=[LGG,HGG,Healthy,Mars]"]
    if table:
        lines = [f"{label}-{number:02d},x.nii,{label}" for label in CLASSES for number in range(4)]
        file = root / "cohort.csv"
        file.write_text("\n".join(["subject_id,path,label", *lines]), encoding="utf-8")
        more.append(f"data.table={file}")
    before = everything_in(root)
    for arguments in (submission(root, *more, "--dry-run"), submission(root, *more)):
        assert submit.main(arguments) == 2
        said = capsys.readouterr()
        assert "Mars" in said.err
        assert said.err.count("\n") == 1
    assert everything_in(root) == before


@pytest.mark.slow
def test_an_external_sweep_is_trained_and_collected(root: Path, in_this_process: None) -> None:
    other = tiny_config(root)
    other = replace(other, data=replace(other.data, name="other"))
    tiny_cache(other, per_class=3, seed=1, prefix="ext-")
    call = asking(root, "cluster=local", "split=external", "data.external=other")
    assert submit.main([*call, "train.epochs=1"]) == 0
    sweep = load_sweep(root / "runs/demo")
    [run] = sweep.runs
    table = predictions.read(run.folder / predictions.FILE_NAME)
    assert sorted(row.subject_id for row in table.rows) == sorted(
        row.subject_id for row in read_index(other.cache)
    )
    cohort = read_cohort(sweep.cache, sweep.splits, CLASSES, sha256=sweep.split_sha256)
    assert cohort.split is not None
    assert splits.describe(cohort.split) == "external test: other"
    summary = json.loads((root / "results/demo/summary.json").read_text(encoding="utf-8"))
    scored = summary["variants"]["mc3_18-scratch"]
    assert sum(map(sum, scored["confusion"])) == 9
    low, high = scored["accuracy"]["ci95"]
    assert low <= scored["accuracy"]["mean"] <= high
