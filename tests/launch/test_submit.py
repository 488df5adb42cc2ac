"""Submitting: what is planned, checked, frozen and refused. Nothing is trained here."""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import stat
import subprocess
import sys
import urllib.error
from collections.abc import Sequence
from pathlib import Path

import pytest

import stfmri.study.compose
from launch import submit
from launch.freeze import freeze_code
from launch.plan import resume_sweep
from stfmri.study import config as configuration
from stfmri.study import locks, predictions, splits
from stfmri.study.compose import compose
from stfmri.study.files import private_dir
from stfmri.study.results import PREDICTIONS_SHA256, predictions_sha256
from stfmri.study.runs import Run, Sweep
from stfmri.study.sweep_file import load_sweep
from tests.launch.conftest import TINY, submission
from tests.tiny import CLASSES, SOURCES, tiny_cache, tiny_config

ROOT = Path(__file__).resolve().parents[2]


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


def everything_in(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_a_dry_run_of_18_runs_takes_two_seconds_imports_no_torch_and_writes_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')", encoding="utf-8")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch/submit.py"), "--sweep", "full", "--dry-run"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    # Beside the networks, a line for each of four baselines; and the line that counts them all.
    assert done.stdout.count("not submitted") == 18 + 4 + 1
    assert "baseline-intensity: 3 runs" in done.stdout
    assert "python -m preprocessing data=brats_ixi data.brats=DIR data.ixi=DIR" in done.stdout
    assert {path.name for path in everything_in(tmp_path)} == {"torch.py"}
    # Processor time: tests run side by side, and waiting says nothing of the program.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_a_dry_run_with_a_cache_writes_nothing(root: Path) -> None:
    before = everything_in(root)
    assert submit.main(submission(root, "--dry-run")) == 0
    assert everything_in(root) == before


def test_a_cohort_that_cannot_be_split_is_told_before_anything_is_written(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything_in(root)
    arguments = submission(root, "split=kfold", "split.n=5")
    assert submit.main([*arguments, "--dry-run"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "before submitting: " in told
    assert "has 4 independent patients" in told
    assert submit.main(arguments) == 2
    assert "has 4 independent patients" in capsys.readouterr().err
    assert everything_in(root) == before


def test_rejected_scans_are_pointed_out(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tiny_config(root).cache / "rejected.csv"
    file.write_text("subject_id,path,reason\ns1,/x/a.nii,empty\n", encoding="utf-8")
    assert submit.main(submission(root, "--dry-run")) == 0
    assert "1 scan of the cohort rejected" in " ".join(capsys.readouterr().out.split())


def test_without_volumes_the_command_that_builds_them_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["data.table=/a b/größe.csv", "data.label=sex", "data.classes=[F,M]", "split.seed=3"]
    arguments = ["--sweep", "ixi_age", "--root", str(tmp_path), *typed]
    assert submit.main(arguments) == 2
    complaint = capsys.readouterr().err
    words = shlex.split(complaint.partition("build them: ")[2])
    assert words[:4] == ["python", "-m", "preprocessing", "data=table"]
    assert words[-2:] == ["--root", str(tmp_path)]
    theirs = compose(words[3:-2], root=tmp_path)
    ours = compose(typed, sweep="ixi_age", root=tmp_path)
    assert (theirs.data, theirs.preprocessing) == (ours.data, ours.preprocessing)
    assert everything_in(tmp_path) == set()


def test_every_run_gets_its_whole_configuration_before_it_starts(
    root: Path, handed_over: list[Run]
) -> None:
    submit.main(submission(root))
    assert [run.name for run in handed_over] == ["mc3_18-scratch/fold0", "mc3_18-scratch/fold1"]
    for fold, run in enumerate(handed_over):
        config = configuration.load(run.config_file)
        assert config.split.fold == fold
        assert config.model.name == "mc3_18"
        assert config.train.epochs == 2
        assert Path(config.root) == root
    assert len([*root.glob("data/cache/tiny-10mm-*/splits/random-label-2-0.json")]) == 1


def test_files_of_a_sweep_are_private(root: Path, handed_over: list[Run]) -> None:
    submit.main(submission(root))
    for path in everything_in(root / "runs"):
        if path.is_dir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path


def test_what_is_done_is_not_submitted_again(root: Path, handed_over: list[Run]) -> None:
    submit.main(submission(root))
    header = "subject_id,patient_id,source,fold,split,label,prediction,prob_a,prob_b\n"
    (handed_over[0].folder / "predictions.csv").write_text(header + "s,p,x,0,test,a,a,0.9,0.1\n")
    handed_over.clear()
    with locks.lock(root / "runs/demo/mc3_18-scratch/fold1"):
        assert submit.main(submission(root, "--dry-run")) == 0
        assert submit.main(["--sweep", "demo", "--root", str(root), "cluster=slurm"]) == 0
    assert handed_over == []


def test_a_later_override_that_differs_is_refused_by_name(
    root: Path, handed_over: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    submit.main(submission(root))
    frozen = (root / "runs/demo/sweep.yaml").read_bytes()
    assert submit.main(submission(root, "train.epochs=3", "split=kfold")) == 2
    complaint = capsys.readouterr().err
    for part in ("train.epochs was 2, now 3", "split.kind was random, now kfold", "--name"):
        assert part in complaint
    assert (root / "runs/demo/sweep.yaml").read_bytes() == frozen


def test_the_same_overrides_none_at_all_and_those_of_the_cluster_are_welcome(
    root: Path, handed_over: list[Run]
) -> None:
    submit.main(submission(root))
    for arguments in (
        submission(root),
        ["--sweep", "demo", "--root", str(root)],
        ["--sweep", "demo", "--root", str(root), "cluster.local_jobs=2", "train.epochs=2"],
    ):
        handed_over.clear()
        submit.main(arguments)
        assert len(handed_over) == 2


def test_a_sweep_goes_on_from_its_own_file_where_conf_has_lost_its_choice(
    root: Path, handed_over: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(stfmri.study.compose.CONF, conf)
    monkeypatch.setattr(stfmri.study.compose, "CONF", conf)
    mine = conf / "sweep" / "mine.yaml"
    mine.write_text((conf / "sweep" / "demo.yaml").read_text().replace("name: demo", "name: mine"))
    _forget_conf()
    submit.main(["--sweep", "mine", *submission(root)[2:]])
    frozen = (root / "runs/mine/sweep.yaml").read_bytes()
    mine.unlink()
    _forget_conf()
    for asked in (["--resume", "mine"], ["--sweep", "mine"]):
        handed_over.clear()
        submit.main([*asked, "--root", str(root)])
        assert [run.name for run in handed_over] == ["mc3_18-scratch/fold0", "mc3_18-scratch/fold1"]
    assert (root / "runs/mine/sweep.yaml").read_bytes() == frozen
    _forget_conf()


def _forget_conf() -> None:
    stfmri.study.compose.groups.cache_clear()
    stfmri.study.compose._hydras.cache_clear()


def test_resuming_takes_settings_of_the_cluster_alone(
    root: Path, handed_over: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    submit.main(submission(root))
    there = ["--root", str(root)]
    assert resume_sweep("demo", root, ["cluster.local_jobs=7"]).cluster.local_jobs == 7
    assert submit.main(["--resume", "demo", *there, "train.epochs=3"]) == 2
    assert "leave out train.epochs" in capsys.readouterr().err
    assert submit.main(["--resume", "demo", "--name", "x", *there]) == 2
    assert "--name makes another sweep" in capsys.readouterr().err
    assert submit.main(["--resume", "dmo", *there]) == 2
    assert "there are: demo" in capsys.readouterr().err


def test_another_name_makes_another_sweep(root: Path, handed_over: list[Run]) -> None:
    submit.main(submission(root))
    submit.main(submission(root, "--name", "longer", "train.epochs=3"))
    assert load_sweep(root / "runs/demo").config.train.epochs == 2
    assert load_sweep(root / "runs/longer").config.train.epochs == 3
    assert submit.main(["--sweep", "full", "--name", "longer", "--root", str(root)]) == 2


def test_editing_conf_changes_no_sweep_but_is_pointed_out(
    root: Path,
    handed_over: list[Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(stfmri.study.compose.CONF, conf)
    monkeypatch.setattr(stfmri.study.compose, "CONF", conf)
    stfmri.study.compose._hydras.cache_clear()
    submit.main(submission(root))
    sheet = conf / "train" / "paper.yaml"
    sheet.write_text(sheet.read_text().replace("weight_decay: 1.0e-3", "weight_decay: 0.5"))
    stfmri.study.compose._hydras.cache_clear()
    capsys.readouterr()
    submit.main(submission(root))
    stfmri.study.compose._hydras.cache_clear()
    told = " ".join(capsys.readouterr().out.split())
    assert "train.weight_decay 0.001 → 0.5" in told
    assert load_sweep(root / "runs/demo").config.train.weight_decay == 1e-3


@pytest.mark.parametrize(
    ("typed", "instead"),
    [
        ("model=r3d_18", "sweep.models"),
        ("model.weights=kinetics", "sweep.weights"),
        ("split.fold=1", "sweep.folds"),
        ("sweep.name=x", "--name"),
    ],
)
def test_what_a_sweep_sets_itself_is_refused(
    root: Path, typed: str, instead: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit.main(submission(root, typed)) == 2
    assert instead in capsys.readouterr().err


def test_weights_that_cannot_be_had_stop_the_submission(
    root: Path,
    handed_over: list[Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def urlopen(url: str, timeout: float) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    assert submit.main(submission(root, "sweep.weights=[scratch,kinetics]")) == 2
    complaint = capsys.readouterr().err
    assert str(root / "data/weights/mc3_18-a90a0ba3.pth") in complaint
    assert handed_over == []
    assert not (root / "runs/demo/sweep.yaml").exists()


def test_a_submission_that_another_overtook_goes_by_the_other_ones_sweep(
    root: Path, handed_over: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = submit.inputs.check

    def overtaken(sweep: Sweep, here: Sequence[str]) -> None:
        monkeypatch.setattr(submit.inputs, "check", check)
        submit.main(submission(root, "sweep.folds=[1]"))
        handed_over.clear()

    monkeypatch.setattr(submit.inputs, "check", overtaken)
    assert submit.main(["--sweep", "demo", "--root", str(root), *TINY]) == 1
    assert [run.name for run in handed_over] == ["mc3_18-scratch/fold1"]
    assert not (root / "runs/demo/mc3_18-scratch/fold0").exists()


@pytest.mark.parametrize("name", ["../x", "a b", "", "a/b", "-x", "ü", "<b>", "a'b", "x" * 101])
def test_a_name_that_no_path_may_hold_is_refused(
    root: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit.main(submission(root, f"--name={name}")) == 2
    assert "--name must be letters" in capsys.readouterr().err
    assert not (root / "runs").exists()


@pytest.mark.parametrize("name", ["1e5", "007", "true", "null", "1_000"])
def test_a_name_is_taken_as_it_is_typed(root: Path, handed_over: list[Run], name: str) -> None:
    submit.main(submission(root, "--name", name))
    assert load_sweep(root / "runs" / name).name == name


@pytest.mark.parametrize("choice", ["../x", "ful", "", "demo.yaml", "/etc/passwd"])
def test_a_sweep_that_is_no_choice_is_refused(
    root: Path, choice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit.main([f"--sweep={choice}", "--root", str(root)]) == 2
    assert "conf/sweep has: " in capsys.readouterr().err


def test_brackets_in_the_root_are_no_markup(
    tmp_path: Path, handed_over: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "[red]a[" / "b] :smile:"
    tiny_cache(tiny_config(root))
    assert submit.main(submission(root)) == 1
    assert str(root) in capsys.readouterr().out


def test_two_submissions_of_a_sweep_do_not_overlap(
    root: Path, handed_over: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    with locks.lock(root / "runs/demo"):
        assert submit.main(submission(root)) == 1
    assert f"process {os.getpid()}" in capsys.readouterr().err
    assert handed_over == []


def test_frozen_code_is_whole_private_and_reused(tmp_path: Path) -> None:
    code = freeze_code(tmp_path)
    assert freeze_code(tmp_path) == code
    # What a kill left half copied goes with the next copy.
    (tmp_path / ".code-torn").mkdir()
    shutil.rmtree(code)
    assert freeze_code(tmp_path) == code
    assert [path.name for path in tmp_path.iterdir()] == [code.name]
    for name in (
        "launch/job.py",
        "stfmri/learning/training.py",
        "conf/config.yaml",
        "slurm/executor.py",
    ):
        assert (code / name).read_bytes() == (ROOT / name).read_bytes()
    assert not [path for path in everything_in(code) if path.name == "__pycache__"]
    assert stat.S_IMODE(code.stat().st_mode) == 0o700


def test_the_entry_point_reads_like_a_table_of_contents() -> None:
    assert len((ROOT / "launch/submit.py").read_text().splitlines()) < 130


def test_help_names_every_sweep_and_says_how_to_choose() -> None:
    text = submit.parser().format_help()
    for word in ("full", "demo", "phantom", "ixi_age", "key=value", "exit status"):
        assert word in text


def test_tiny_overrides_are_all_known() -> None:
    assert compose(TINY, sweep="demo").data.name == "tiny"


def test_without_a_cluster_that_answers_no_plan_is_told_and_no_sweep_left(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "broken.conf").write_text("no cluster\n", encoding="utf-8")
    monkeypatch.setenv("SLURM_CONF", str(root / "broken.conf"))
    monkeypatch.setattr("slurm.queue.PAUSE_S", 0)
    before = everything_in(root)
    assert submit.main(submission(root, "cluster=slurm")) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    folder = root / "runs" / "demo"
    assert everything_in(root) - before <= {root / "runs", folder, folder / "lock"}


def test_a_cache_of_another_table_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        f"{label}-{number:02d},x.nii.gz,{label},{SOURCES[label]}"
        for label in CLASSES
        for number in range(4)
    ]
    table = root / "cohort.csv"
    call = submission(root, "cluster=local", f"data.table={table}")
    for changed, told in (
        (rows, None),
        ([*rows, "new,x.nii.gz,LGG,here"], "1 subject in"),
        (rows[1:], f"({CLASSES[0]}-00)"),
        ([f"{CLASSES[0]}-00,x.nii.gz,{CLASSES[1]},here", *rows[1:]], "has changed since"),
    ):
        table.write_text(
            "\n".join(["subject_id,path,label,source", *changed]) + "\n", encoding="utf-8"
        )
        assert submit.main([*call, "--dry-run"]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert ("before submitting" in said) == (told is not None)
        assert told is None or told in said
    assert submit.main([*call[:-1], f"data.table={root}/none.csv"]) == 2
    assert "none.csv" in capsys.readouterr().err


def test_fp16_without_a_gpu_is_refused_before_anything_is_written(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit.main(submission(root, "cluster=local", "train.precision=fp16")) == 2
    assert "needs a CUDA device" in capsys.readouterr().err
    assert not (root / "runs").exists()


@pytest.mark.parametrize("classes", ["[a,b]", "[young,old,ancient]", "[young]"])
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_classes_of_another_cohort_are_a_wrong_call_before_anything_is_preprocessed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], classes: str, more: tuple[str, ...]
) -> None:
    table = tmp_path / "cohort.csv"
    table.write_text("subject_id,path,label\na,a.nii,young\nb,b.nii,old\n")
    asked = ("data=table", f"data.table={table}", f"data.classes={classes}", "sweep.baselines=[]")
    call = ["--sweep", "demo", "--root", str(tmp_path), *asked, "data.folder=null", *more]
    assert submit.main(call) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "data.classes" in line
    assert not (tmp_path / "runs").exists()


def test_results_of_other_predictions_are_written_again(
    root: Path, handed_over: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    submit.main(submission(root))
    sweep = load_sweep(root / "runs/demo")
    for run in sweep.runs:
        config = sweep.config_of(run)
        split = splits.check(config)
        tested = [split.subjects[name] for name in split.folds[run.fold].test]
        predictions.write(
            run.folder / predictions.FILE_NAME,
            subjects=tested,
            fold=run.fold,
            classes=split.classes,
            probabilities=[[0.5, 0.3, 0.2]] * len(tested),
        )
    collected: list[Path] = []
    monkeypatch.setattr("launch.submit.collect_here", lambda one, code: collected.append(code) or 0)
    handed_over.clear()
    summary = private_dir(sweep.config.results_folder) / "summary.json"
    for content, again in (
        ('{"complete": true}', True),  # of an earlier version
        (f'{{"{PREDICTIONS_SHA256}": "of a partial collection"}}', True),
        (f'{{"{PREDICTIONS_SHA256}": "{predictions_sha256(sweep)}"}}', False),
    ):
        collected.clear()
        summary.write_text(content)
        assert submit.main(submission(root)) == 0
        assert collected == (list(sweep.folder.glob("code-*")) if again else [])
    assert handed_over == []
