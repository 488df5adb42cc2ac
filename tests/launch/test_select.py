"""A sweep that chooses in each fold: what is submitted, in which order, and how it is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from launch import states, status, submit
from launch.cluster import left_to_the_choosing
from launch.job import TrainRuns
from launch.states import states_of
from slurm.queue import Job, JobState
from stfmri.study import config as configuration
from stfmri.study import locks, predictions, selection, splits
from stfmri.study.jobs import Submission, append_jobs
from stfmri.study.runs import Run
from stfmri.study.sweep_file import load_sweep
from tests.launch.conftest import submission
from tests.tiny import CLASSES, tiny_cache, tiny_config

SELECT = "sweep.select={train.learning_rate:[1e-4,1e-3,1e-2]}"
VARIANT = "mc3_18-scratch"
INNER = [f"select/learning_rate-{rate}" for rate in ("0.0001", "0.001", "0.01")]


@pytest.fixture(autouse=True)
def _no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.cluster.has_slurm", lambda: False)
    monkeypatch.setattr("launch.states.has_slurm", lambda: False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Its cache holds eighteen subjects, so that a quarter of a training part has every class."""
    tiny_cache(tiny_config(tmp_path), per_class=6)
    return tmp_path


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that would be trained on this machine; none is."""
    runs: list[Run] = []
    monkeypatch.setattr(
        submit, "train_on_this_machine", lambda out, sweep, some, cluster, code: runs.extend(some)
    )
    return runs


def names(*parts: str, fold: int = 0) -> list[str]:
    return [f"{VARIANT}/fold{fold}{'/' if part else ''}{part}" for part in parts]


def finish(run: Run, probability: float = 0.5) -> None:
    """Predictions of every subject that the run is to predict, alike for all."""
    config = configuration.load(run.config_file)
    split = splits.ensure(config)
    subjects = [split.subjects[name] for name in split.folds[run.fold].test]
    row = [probability, 1 - probability, 0.0]
    predictions.write(
        run.folder / "predictions.csv",
        subjects=subjects,
        fold=run.fold,
        classes=CLASSES,
        probabilities=[row] * len(subjects),
    )


def test_candidates_come_before_the_run_that_chooses_and_all_are_configured(
    root: Path, handed_over: list[Run]
) -> None:
    submit.main(submission(root, SELECT))
    both = names(*INNER, "") + names(*INNER, "", fold=1)
    assert [run.name for run in handed_over] == both
    sweep = load_sweep(root / "runs/demo")
    for run in sweep.networks:
        assert configuration.load(run.config_file) == replace(
            sweep.config_of(run), root=configuration.load(run.config_file).root
        )
    assert [run.name for run in sweep.all_runs] == names("") + names("", fold=1)
    # One division serves all candidates and folds, and is there before any of them starts.
    assert len([*root.glob("data/cache/tiny-10mm-*/splits/random-label-2-0-inner-*.json")]) == 1


def test_submitting_again_picks_up_what_is_missing(root: Path, handed_over: list[Run]) -> None:
    fold0 = "sweep.folds=[0]"
    submit.main(submission(root, SELECT, fold0))
    sweep = load_sweep(root / "runs/demo")
    [run] = sweep.runs
    first, second, third = sweep.inner_runs(run)

    def again() -> list[str]:
        handed_over.clear()
        submit.main(submission(root, SELECT, fold0))
        return [one.name for one in handed_over]

    finish(first)
    selection.record_divergence(second.folder, ValueError("nan"))
    assert again() == names(INNER[2], "")
    with locks.lock(third.folder):
        assert again() == names("")
    with locks.lock(run.folder):  # it brings to their end the candidates that nobody trains
        assert again() == []
    finish(third, 0.4)
    assert again() == names("")
    selection.write(run.folder, selection.judge(run.folder, configuration.load(run.config_file)))
    (first.folder / "predictions.csv").unlink()  # what is chosen is chosen
    assert again() == names("")


def test_an_edited_candidate_list_is_refused(
    root: Path, handed_over: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    submit.main(submission(root, SELECT))
    assert submit.main(submission(root, "sweep.select={train.learning_rate:[1e-4,1e-3]}")) == 2
    assert "sweep.select was" in capsys.readouterr().err


def test_a_cohort_too_small_to_judge_on_is_refused_before_anything_is_written(
    tmp_path: Path, handed_over: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_cache(tiny_config(tmp_path), per_class=4)
    assert submit.main(submission(tmp_path, SELECT)) == 2
    assert "sweep.select cannot judge on 0.25 of the 8 training" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not (tmp_path / "runs/demo/sweep.yaml").exists()


def test_the_inner_division_is_not_set_by_hand(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit.main(submission(root, "split.inner=0.25")) == 2
    assert "a sweep sets split.inner itself" in capsys.readouterr().err


def test_status_tells_how_far_a_choice_is_in_the_line_of_its_run(
    root: Path,
    handed_over: list[Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    submit.main(submission(root, SELECT))
    sweep = load_sweep(root / "runs/demo")
    run = sweep.runs[0]
    first, second, _ = sweep.inner_runs(run)
    finish(first)
    append_jobs(
        sweep.folder, [Submission(one.name, "7", k, "t") for k, one in enumerate((second, run))]
    )
    queue = {
        Job("7", 0): JobState("RUNNING", "None", None, 60),
        Job("7", 1): JobState("PENDING", "Resources", None, None),
    }
    monkeypatch.setattr(states, "alive", lambda: queue)
    monkeypatch.setattr(states, "has_slurm", lambda: True)
    capsys.readouterr()
    assert status.main(["--sweep", "demo", "--root", str(root)]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "job 7_1 (Resources), chooses: 1 of 3 candidates judged, 1 in training" in told
    assert "2 runs: 1 pending, 1 not submitted" in told
    waiting, new = states_of(sweep)
    assert waiting.tasks == []
    assert [one.name for one in new.tasks] == names(*INNER, "", fold=1)


def test_on_slurm_the_last_candidate_is_left_to_the_job_of_the_run_that_chooses(
    root: Path, handed_over: list[Run]
) -> None:
    submit.main(submission(root, SELECT, "sweep.folds=[0]"))
    sweep = load_sweep(root / "runs/demo")
    left = left_to_the_choosing(sweep, handed_over)
    assert [run.name for run in left] == names(*INNER[:2], "")
    assert left_to_the_choosing(sweep, sweep.runs) == sweep.runs


def test_a_job_of_a_candidate_that_its_run_trains_already_gives_way(
    root: Path, handed_over: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    submit.main(submission(root, SELECT, "sweep.folds=[0]"))
    inner = handed_over[0]
    with locks.lock(inner.folder):
        TrainRuns([str(inner.config_file)])()
    assert "left to that process" in capsys.readouterr().out
    assert not (inner.folder / "train.err").exists()


@pytest.mark.slow
def test_a_whole_sweep_chooses_tests_and_reports(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    select = "sweep.select={train.learning_rate:[1e-4,1e-3]}"
    arguments = submission(root, select, "cluster=local", "sweep.folds=[1]", "train.batch_size=4")
    assert submit.main(arguments) == 0
    summary = json.loads((root / "results/demo/summary.json").read_text(encoding="utf-8"))
    assert summary["complete"] is True
    assert list(summary["variants"]) == [VARIANT]
    [run] = load_sweep(root / "runs/demo").runs
    chosen = selection.read(run.folder)
    assert chosen is not None
    assert summary["select"][run.name]["chosen"] == chosen.winner.values
    table = (root / "results/demo/tables/selection.csv").read_text(encoding="utf-8")
    assert table.startswith("Run,Judged on,Chosen,learning_rate 0.0001,learning_rate 0.001\n")
    assert f"{run.name},{chosen.judged}," in table
    methods = (root / "results/demo/methods.txt").read_text(encoding="utf-8")
    assert "train.learning_rate (0.0001 or 0.001) was chosen by the weighted" in methods
    rate = chosen.winner.values["train.learning_rate"]
    assert f"with a learning rate of {rate:g} (kept constant)" in methods
    capsys.readouterr()
    assert status.main(["--sweep", "demo", "--root", str(root)]) == 0
    assert submit.main(arguments) == 0
    assert "nothing to submit" in capsys.readouterr().out
