"""Baselines of a sweep: submitted with the networks, run before them, done again where missing."""

from __future__ import annotations

import json
import pickle
import stat
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from launch import local, status, submit
from launch.job import JobError, RunBaselines, baselines_by_fold
from launch.states import job_of, states_of, why_failed
from slurm.devcluster.cluster import DevCluster
from slurm.local import Outcome
from stfmri import baselines
from stfmri.study import locks
from stfmri.study.errors import UserError
from stfmri.study.jobs import last_jobs
from stfmri.study.predictions import read as read_predictions
from stfmri.study.sweep_file import load_sweep
from tests.launch.conftest import submission
from tests.launch.test_on_slurm import SMALL, wait_for_runs
from tests.slurm.conftest import cluster, cluster_folder, dev_cluster, wait_until_ended
from tests.tiny import CLASSES

__all__ = ["cluster", "cluster_folder", "dev_cluster"]  # fixtures

TWO = "sweep.baselines=[intensity,covariates,shuffled]"  # covariates does not fit: none is named
SLURM_SMALL = ("cluster.baselines.cpus=1", "cluster.baselines.mem_gb=1")


@pytest.fixture
def planned(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep of a network and two baselines, submitted without anything being run."""
    monkeypatch.setattr(submit, "train_on_this_machine", lambda *rest: None)
    submit.main(submission(root, "cluster=local", TWO))
    return root / "runs/demo"


def names(sweep_folder: Path) -> list[str]:
    return [run.name for run in load_sweep(sweep_folder).baseline_runs]


def test_a_sweep_has_the_baselines_that_fit_its_cohort_on_its_folds(planned: Path) -> None:
    sweep = load_sweep(planned)
    assert sweep.baselines == ("intensity", "shuffled")
    assert names(planned) == [
        f"baseline-{name}/fold{fold}" for name in ("intensity", "shuffled") for fold in (0, 1)
    ]
    assert len(sweep.runs) == 2
    assert sweep.all_runs == [*sweep.baseline_runs, *sweep.runs]


def test_baselines_refuse_a_split_that_was_edited_since(planned: Path) -> None:
    sweep = load_sweep(planned)
    content = json.loads(sweep.splits.read_text(encoding="utf-8"))
    content["folds"][0]["train"].pop()
    sweep.splits.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match="is not the split that this sweep was submitted with"):
        RunBaselines(str(planned), 0, ("intensity",))()


def test_a_sweep_of_an_earlier_version_has_none(planned: Path) -> None:
    file = planned / "sweep.yaml"
    text = file.read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if line not in ("- intensity", "- shuffled")]
    file.write_text("\n".join(kept).replace("\nbaselines:\n", "\n") + "\n", encoding="utf-8")
    assert load_sweep(planned).baseline_runs == []
    assert baselines.main(["--sweep", "demo", "--root", str(planned.parents[1])]) == 0


def test_a_dry_run_gives_each_baseline_a_line_with_what_its_runs_ask_for(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.states.has_slurm", lambda: False)
    assert submit.main(submission(root, TWO, "cluster=slurm", "--dry-run")) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    by_run = {words[0]: " ".join(words) for words in lines if words}
    baseline = by_run["baseline-intensity:"]
    assert "2 runs" in baseline
    assert "no GPU, 2 CPUs, 8 GB, 60 min" in baseline
    assert "gpu:1, 4 CPUs" in by_run["mc3_18-scratch/fold1"]
    assert not (root / "runs").exists()


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            "sweep.baselines=[intensity,knn]",
            "knn; it may name covariates, intensity, shape, voxels",
        ),
        ("sweep.baselines=[majority]", "majority, source_only are computed in any case"),
        ("sweep.baselines=[shape,shape]", "names a baseline twice"),
        ("data.covariates=[age]", "names age, which the cohort table does not have"),
        ("data.covariates=[label]", "which is the class (data.label) itself"),
        ("data.covariates=[source]", "names source, which has a baseline of its own"),
        ("data.covariates=[path]", "names path, which is a file; leave it out"),
        ("data.covariates=[patient_id]", "names patient_id, which names the patient"),
        (
            "data.covariates=age,sex",
            "takes a list, found age,sex: write 'data.covariates=[age,sex]'",
        ),
        ("data.covariates=age", "must be a list, found 'age'; write 'data.covariates=[age]'"),
    ],
)
def test_what_cannot_be_a_baseline_is_refused_before_anything_is_written(
    root: Path, typed: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [typed] if typed.startswith("sweep") else ["sweep.baselines=[covariates]", typed]
    assert submit.main(submission(root, *more)) == 2
    assert told in capsys.readouterr().err
    assert not (root / "runs").exists()


def test_a_baseline_that_was_asked_for_and_cannot_be_run_is_named_with_the_reason(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit.main([*submission(root, "sweep.baselines=[covariates]"), "--dry-run"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    reason = "data.covariates names no column, such as [age,sex]"
    assert f"baselines that are not run: covariates ({reason})" in told


def test_the_command_runs_what_is_missing_and_leaves_alone_what_is_done(
    planned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--sweep", "demo", "--root", str(planned.parents[1])]
    assert baselines.main(command) == 0
    assert "4 of 4 runs of baselines are done" in capsys.readouterr().err
    runs = load_sweep(planned).baseline_runs
    tables = {run.name: (run.folder / "predictions.csv") for run in runs}
    before = {name: path.stat().st_mtime_ns for name, path in tables.items()}
    texts = {name: path.read_bytes() for name, path in tables.items()}
    for run in runs:
        assert stat.S_IMODE(run.folder.stat().st_mode) == 0o700
        record = json.loads((run.folder / "provenance.json").read_text(encoding="utf-8"))
        assert record["baseline"] == run.baseline
        assert {"hyper_parameters", "inner_log_loss"} <= set(record["facts"])
        assert record["versions"]["scikit-learn"]
        assert record["timings"]["fit_s"] > 0

    # Killed while it wrote: one fold has no predictions, another half of them.
    gone, torn = runs[1].name, runs[2].name
    tables[gone].unlink()
    tables[torn].write_bytes(texts[torn][:-20])
    assert baselines.main(command) == 0
    after = {name: path.stat().st_mtime_ns for name, path in tables.items()}
    assert {name for name in after if after[name] != before[name]} == {gone, torn}
    assert {name: path.read_bytes() for name, path in tables.items()} == texts


def test_a_run_that_another_process_holds_is_left_to_it_and_the_others_are_run(
    planned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held, *others = load_sweep(planned).baseline_runs
    with locks.lock(held.folder):
        assert baselines.main(["--sweep", "demo", "--root", str(planned.parents[1])]) == 1
    assert f"{held.name} failed: " in capsys.readouterr().err
    assert not held.is_done()
    assert all(run.is_done() for run in others)


def test_a_job_does_a_fold_and_writes_beside_each_run_why_it_failed(planned: Path) -> None:
    sweep = load_sweep(planned)
    calls = baselines_by_fold(planned, sweep.all_runs)
    assert [call.names for call in calls] == [("intensity", "shuffled")] * 2
    first = next(iter(calls))
    assert pickle.loads(pickle.dumps(first)) == first
    first()
    assert [run.is_done() for run in sweep.baseline_runs] == [True, False, True, False]

    shard = next(sweep.cache.glob("shard-*.h5"))
    shard.write_bytes(b"no shard")
    (sweep.cache / "features/features.npz").unlink()
    with pytest.raises(Exception, match="cannot read the shard"):
        RunBaselines(str(planned), 1, ("intensity",))()
    told = (planned / "baseline-intensity/fold1/train.err").read_text(encoding="utf-8")
    assert "cannot read the shard" in told
    states = {state.run.name: state.state for state in states_of(sweep)}
    assert states["baseline-intensity/fold0"] == "done"
    assert states["baseline-intensity/fold1"] == "failed"


def test_one_baseline_that_fails_does_not_stop_the_others(
    planned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(task: object) -> None:
        raise ValueError("no solution")

    registry = dict(baselines_registry())
    monkeypatch.setitem(
        registry, "intensity", type("Broken", (), {"predict": fail, "extractors": ()})
    )
    monkeypatch.setattr("stfmri.evidence.baselines.run.BASELINES", registry)
    with pytest.raises(JobError, match="1 of 2 baselines failed: baseline-intensity/fold0: "):
        RunBaselines(str(planned), 0, ("intensity", "shuffled"))()
    assert "ValueError" in (planned / "baseline-intensity/fold0/train.err").read_text()
    assert (planned / "baseline-shuffled/fold0/predictions.csv").is_file()


def baselines_registry() -> dict:
    from stfmri.evidence.baselines import BASELINES

    return dict(BASELINES)


def test_a_run_that_dies_early_is_not_said_to_have_ended_as_it_did_before(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = iter(["ended as before"] * 4 + ["ended otherwise"] * 4)

    def run_local(
        calls: Sequence[Callable[[], object]],
        *,
        folder: Path,
        on_change: Callable[[int, str], None],
        on_end: Callable[[Outcome], None],
        **rest: object,
    ) -> list[Outcome]:
        outcomes = [Outcome(index, next(ends), None, folder) for index in range(len(calls))]
        for outcome in outcomes:
            on_change(outcome.index, "running")
            on_end(outcome)
            on_change(outcome.index, "failed")
        return outcomes

    monkeypatch.setattr("launch.local.run_local", run_local)
    typed = submission(root, "cluster=local", TWO)
    for end in ("ended as before", "ended otherwise"):
        assert submit.main(typed) == 1
        runs = load_sweep(root / "runs/demo").all_runs
        assert {why_failed(run, None, root) for run in runs} == {end}


@pytest.mark.slow
def test_on_this_machine_baselines_and_networks_are_run_and_collected_and_done_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = submission(root, "cluster=local", "cluster.local_jobs=2", "train.epochs=1", TWO)
    assert submit.main(typed) == 0
    told = capsys.readouterr().out
    assert told.index("baselines, fold 1: done") < told.index("mc3_18-scratch/fold0: running")
    sweep = load_sweep(root / "runs/demo")
    assert all(run.is_done() for run in sweep.all_runs)
    assert (root / "results/demo/report.html").is_file()
    for run in sweep.baseline_runs:
        assert read_predictions(run.folder / "predictions.csv").classes == CLASSES
    assert status.main(["--sweep", "demo", "--root", str(root)]) == 0
    assert "6 runs: 6 done" in capsys.readouterr().out

    tables = {run.name: run.folder / "predictions.csv" for run in sweep.all_runs}
    before = {name: path.stat().st_mtime_ns for name, path in tables.items()}
    lost = sweep.baseline_runs[1].name
    tables[lost].unlink()
    monkeypatch.setattr(local, "collect", lambda *_: 0)  # once is enough
    assert submit.main(typed) == 0
    changed = {name for name, path in tables.items() if path.stat().st_mtime_ns != before[name]}
    assert changed == {lost}


@pytest.mark.slow
@pytest.mark.slurm
def test_on_slurm_a_task_a_fold_runs_them_and_the_collector_waits(
    cluster: DevCluster, root: Path
) -> None:
    typed = submission(root, TWO, "train.epochs=1", *SMALL, *SLURM_SMALL)
    assert submit.main(typed) == 0
    sweep = load_sweep(root / "runs/demo")
    jobs = last_jobs(sweep.folder)
    tasks = {run.name: job_of(jobs[run.name]) for run in sweep.baseline_runs}
    assert len(set(tasks.values())) == 2
    assert tasks["baseline-intensity/fold0"] == tasks["baseline-shuffled/fold0"]
    asked = subprocess.run(
        ["scontrol", "show", "job", str(job_of(jobs["collect"]))],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    [waits] = [word for word in asked.split() if word.startswith("Dependency=")]
    for job in {jobs[run.name].job_id for run in sweep.all_runs}:
        assert f"afterany:{job}" in waits
    wait_until_ended(*(job_of(line) for line in jobs.values()), timeout_s=240)
    assert all(run.is_done() for run in sweep.all_runs)
    assert (root / "results/demo/summary.json").is_file()

    (sweep.baseline_runs[0].folder / "predictions.csv").unlink()
    assert submit.main(typed) == 0
    again = last_jobs(sweep.folder)
    changed = {name for name in again if again[name].job_id != jobs[name].job_id}
    assert changed == {sweep.baseline_runs[0].name, "collect"}
    wait_for_runs(again)
    assert all(state.state == "done" for state in states_of(sweep))
