from __future__ import annotations

import csv
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from stfmri import collect
from stfmri.evidence.collecting import collect_evidence
from stfmri.evidence.drawing import drawable_of
from stfmri.evidence.figures import draw_all
from stfmri.evidence.report import render, tables_of, texts_of
from stfmri.evidence.summarise import summarise
from stfmri.study import locks
from stfmri.study.config.training import ModelConfig, TrainConfig
from stfmri.study.errors import UserError
from stfmri.study.files import replacing
from stfmri.study.results import are_current
from stfmri.study.splits import read_file, require_unchanged
from stfmri.study.sweep_file import write_sweep
from tests.evidence.sweeps import make_sweep


def run(root: Path, *arguments: str) -> int:
    return collect.main(["--sweep", "full", "--root", str(root), *arguments])


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    make_sweep(root, note="Of no meaning.")
    assert run(root) == 0
    return root / "results" / "full"


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figures, which take most of the time, where a test is about something else."""
    monkeypatch.setattr("stfmri.evidence.write.draw_all", lambda drawable: ())


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn, and files written under their names; only their pictures are not made."""
    monkeypatch.setattr("stfmri.evidence.write.to_png", lambda figure: b"PNG")
    monkeypatch.setattr("stfmri.evidence.write.to_pdf", lambda figure: b"PDF")
    monkeypatch.setattr("stfmri.evidence.write.picture", lambda drawn: "<picture></picture>")


def test_a_complete_sweep_gives_tables_figures_summary_and_report(complete: Path) -> None:
    assert {path.name for path in complete.iterdir()} == {
        "figures",
        "tables",
        "summary.json",
        "methods.txt",
        "report.html",
    }
    endings = {path.suffix for path in (complete / "tables").iterdir()}
    assert endings == {".csv", ".md", ".tex"}
    assert {path.suffix for path in (complete / "figures").iterdir()} == {".png", ".pdf"}
    for name in ("parameters", "f1_of_0_LGG", "scores", "confusion", "table_one", "flow"):
        assert (complete / "tables" / f"{name}.csv").is_file()
    for name in ("forest", "confusion", "confusion_r3d_18_scratch", "classwise", "training"):
        assert (complete / "figures" / f"{name}.pdf").stat().st_size > 1000
    page = (complete / "report.html").read_text(encoding="utf-8")
    assert page.count("<picture>") >= 8
    assert "Of no meaning." in page
    assert "Incomplete" not in page
    assert "Other than the defaults" not in page
    assert json.loads((complete / "summary.json").read_text(encoding="utf-8"))["complete"]


def test_the_report_tells_what_was_chosen_other_than_by_default(
    tmp_path: Path, without_figures: None
) -> None:
    sweep = make_sweep(tmp_path)
    train = TrainConfig(average_last=0.5, batch_norm="recomputed", threads=3)
    model = ModelConfig(name="mc3_18", weights="kinetics")
    write_sweep(replace(sweep, config=replace(sweep.config, train=train, model=model)))
    assert run(tmp_path) == 0
    page = (tmp_path / "results/full/report.html").read_text(encoding="utf-8")
    expected = "Other than the defaults: train.average_last=0.5, train.batch_norm=recomputed. Each"
    assert expected in page


def test_results_are_readable_by_their_owner_alone(complete: Path) -> None:
    for folder in (complete, complete / "tables", complete / "figures"):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert (complete / "report.html").stat().st_mode & 0o077 == 0


def test_of_an_incomplete_sweep_nothing_is_written_and_the_run_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make_sweep(tmp_path)
    (sweep.runs[4].folder / "predictions.csv").unlink()
    assert run(tmp_path) == 1
    assert "r3d_18-kinetics/fold1" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_an_incomplete_sweep_is_written_and_marked_on_request(
    tmp_path: Path, without_figures: None
) -> None:
    sweep = make_sweep(tmp_path)
    (sweep.runs[4].folder / "predictions.csv").unlink()
    assert run(tmp_path, "--allow-partial") == 0
    written = tmp_path / "results" / "full"
    summary = json.loads((written / "summary.json").read_text(encoding="utf-8"))
    assert summary["complete"] is False
    assert summary["missing"] == ["r3d_18-kinetics/fold1"]
    assert summary["variants"]["r3d_18-kinetics"]["folds"] == 2
    assert summary["leader"] == "r3d_18-scratch"
    page = (written / "report.html").read_text(encoding="utf-8")
    assert "Incomplete" in page
    assert "missing: no predictions" in page


def test_runs_of_a_fold_that_the_split_lacks_are_missing(
    tmp_path: Path, without_figures: None
) -> None:
    sweep = make_sweep(tmp_path)
    content = json.loads(sweep.splits.read_text(encoding="utf-8"))
    content["folds"].pop()
    sweep.splits.write_text(json.dumps(content), encoding="utf-8")
    assert run(tmp_path, "--allow-partial") == 0
    summary = json.loads((tmp_path / "results/full/summary.json").read_text(encoding="utf-8"))
    assert summary["missing"] == ["r3d_18-scratch/fold2", "r3d_18-kinetics/fold2"]
    assert summary["baselines"]["majority"]["folds"] == 2


def test_a_sweep_without_any_predictions_still_gives_a_partial_report(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    for one in sweep.runs:
        (one.folder / "predictions.csv").unlink()
    assert run(tmp_path, "--allow-partial") == 0
    page = (tmp_path / "results" / "full" / "report.html").read_text(encoding="utf-8")
    assert "No run of this sweep has predictions yet" in page


def test_doubled_evidence_is_refused_naming_file_and_subject(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make_sweep(tmp_path)
    path = sweep.runs[0].folder / "predictions.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines, lines[1]]), encoding="utf-8")
    assert run(tmp_path) == 1
    said = capsys.readouterr().err
    assert str(path) in said
    assert f"subject {lines[1].split(',')[0]!r} more than once" in said


def test_a_sweep_that_does_not_exist_is_a_wrong_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_collecting_twice_gives_the_same_files(complete: Path) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in complete.rglob("*.*")}

    before = contents()
    assert run(complete.parents[1]) == 0
    assert contents() == before


def test_what_an_earlier_collection_wrote_goes_and_nothing_else(
    tmp_path: Path, without_pictures: None
) -> None:
    make_sweep(tmp_path, accuracies={"mc3_18-scratch": 0.8, "r3d_18-scratch": 0.7})
    assert run(tmp_path) == 0
    results = tmp_path / "results" / "full"
    mine = [results / "notes.txt", results / "tables/mine.csv", results / "figures/forest.svg"]
    for path in mine:
        path.write_text("mine")
    assert (results / "figures/confusion_mc3_18_scratch.pdf").is_file()
    make_sweep(tmp_path, accuracies={"r3d_18-scratch": 0.7}, classes=("HGG", "Healthy", "LGG"))
    # A record that was tampered with deletes nothing outside the results.
    outside = tmp_path / "results" / "outside.csv"
    outside.touch()
    with (tmp_path / "runs/full/collect/written.txt").open("a") as record:
        record.write(f"../outside.csv\n{outside}\ntables/../../outside.csv\n")
    assert run(tmp_path) == 0
    assert not list((results / "figures").glob("confusion_mc3_18_scratch.*"))
    assert len(list((results / "figures").glob("confusion_*.pdf"))) == 1
    assert all(path.read_text() == "mine" for path in mine)
    assert outside.exists()


def test_two_collections_of_a_sweep_take_turns(
    tmp_path: Path,
    without_figures: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_sweep(tmp_path)
    monkeypatch.setattr(collect, "WAIT_S", 0.0)
    with locks.lock(tmp_path / "runs/full/collect"):
        assert run(tmp_path) == 1
    assert "is held by process" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
    monkeypatch.setattr(collect, "WAIT_S", 60.0)
    with locks.lock(tmp_path / "runs/full/collect"):
        other = threading.Timer(0, run, (tmp_path,))
        other.start()
        time.sleep(1)
        assert not (tmp_path / "results").exists()
    other.join()
    assert (tmp_path / "results/full/report.html").is_file()


HOSTILE = ("<script>alert(1)</script>", "a$\\frac{b$", '%_&#{}~^\\|"=1+1,' + "x" * 200)


def test_names_of_classes_sources_and_subjects_are_nowhere_markup(tmp_path: Path) -> None:
    sources = {(f"</td><img src=x onerror=alert({n})>", name): 12 for n, name in enumerate(HOSTILE)}
    make_sweep(tmp_path, classes=HOSTILE, sources=sources)
    assert run(tmp_path) == 0
    results = tmp_path / "results" / "full"
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page
    assert "<img src=x" not in page
    for path in (results / "tables").glob("*.md"):
        assert "<" not in path.read_text(encoding="utf-8").replace("\\<", ""), path
    for path in (results / "tables").glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            assert len({len(row) for row in csv.reader(file, strict=True)}) == 1, path
    latex = (results / "tables" / "cohort.tex").read_text(encoding="utf-8")
    assert r"\%\_\&\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}" in latex
    assert r"a\$\textbackslash{}frac\{b\$" in latex


@pytest.mark.parametrize("name", ["provenance.json", "metrics.csv"])
@pytest.mark.parametrize(
    "content", [b"\xff\xfe\0", b"", b"[3, {}]", b'{"timings": {"a": {}}}', b'"']
)
def test_a_broken_record_of_a_run_spoils_no_report(
    tmp_path: Path, name: str, content: bytes
) -> None:
    sweep = make_sweep(tmp_path, accuracies={"r3d_18-scratch": 0.8}, folds=1)
    (sweep.runs[0].folder / name).write_bytes(content)
    results = summarise(collect_evidence(sweep))
    assert list(draw_all(drawable_of(results)))
    texts = texts_of(results)
    assert render(results, texts, tables_of(results, texts), [])


def test_a_split_that_leaks_is_no_evidence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make_sweep(tmp_path)
    split = json.loads(sweep.splits.read_text(encoding="utf-8"))
    split["folds"][1]["train"].append(split["folds"][1]["test"][0])
    sweep.splits.write_text(json.dumps(split), encoding="utf-8")
    assert run(tmp_path) == 2
    assert "the same subject stands on both sides" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[]", '{"label": "label", "folds": [{"train": [{}]}]}', "\0"])
def test_a_broken_split_is_one_clear_line(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make_sweep(tmp_path)
    sweep.splits.write_text(content, encoding="utf-8")
    assert run(tmp_path) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_predictions_of_another_fold_are_missing_and_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make_sweep(tmp_path)
    first, second = sweep.runs[:2]
    (second.folder / "predictions.csv").write_bytes((first.folder / "predictions.csv").read_bytes())
    assert not second.is_done()
    assert run(tmp_path) == 1
    assert "expected fold 1 for subject" in capsys.readouterr().err


def test_collecting_and_its_help_start_without_torch() -> None:
    code = (
        "import sys, stfmri.collect, stfmri.evidence.write;"
        "print('torch' in sys.modules, 'hydra' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "stfmri.collect", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--allow-partial" in shown.stdout
    assert "matplotlib" not in shown.stderr


def test_a_collection_ends_with_the_table_and_the_caution(
    tmp_path: Path, without_figures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sweep(tmp_path, note="Of no meaning.")
    assert run(tmp_path) == 0
    told = capsys.readouterr().out
    for words in ("Macro and weighted F1", "ResNet3D", "Source only", "Of no meaning."):
        assert words in told


def test_results_are_current_until_predictions_change(
    tmp_path: Path, without_figures: None
) -> None:
    sweep = make_sweep(tmp_path)
    file = sweep.runs[4].folder / "predictions.csv"
    content = file.read_bytes()
    file.unlink()
    assert run(tmp_path, "--allow-partial") == 0
    assert are_current(sweep)
    file.write_bytes(content)  # the run has finished since
    assert not are_current(sweep)
    assert run(tmp_path) == 0
    assert are_current(sweep)
    (tmp_path / "results/full/summary.json").write_text("[" * 100_000)
    assert not are_current(sweep)


@pytest.mark.parametrize("last", ["summary.json", "report.html", "scores.csv"])
def test_a_collection_that_was_killed_is_not_taken_for_complete(
    tmp_path: Path, without_figures: None, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """The kill comes before the last step of writing one file; its temporary file is left."""
    sweep = make_sweep(tmp_path)
    file = sweep.runs[4].folder / "predictions.csv"
    content = file.read_bytes()
    file.unlink()
    assert run(tmp_path, "--allow-partial") == 0
    file.write_bytes(content)

    @contextmanager
    def killed(path: Path) -> Iterator[Path]:
        if path.name == last:
            (path.parent / f".{path.name}.ab12cd34.tmp").write_text("half")
            raise KeyboardInterrupt
        with replacing(path) as temporary:
            yield temporary

    with monkeypatch.context() as patch:
        patch.setattr("stfmri.evidence.write.replacing", killed)
        assert run(tmp_path) == 130
    assert not are_current(sweep)
    assert list((tmp_path / "results").rglob(".*.tmp"))
    assert run(tmp_path) == 0
    assert are_current(sweep)
    assert not list((tmp_path / "results").rglob(".*.tmp"))


def test_a_binary_record_of_what_was_written_is_no_obstacle(
    tmp_path: Path, without_figures: None
) -> None:
    sweep = make_sweep(tmp_path)
    record = sweep.folder / "collect" / "written.txt"
    record.parent.mkdir()
    record.write_bytes(bytes(range(256)) + b"\n../../precious\n")
    precious = tmp_path / "results" / "precious"
    precious.parent.mkdir()
    precious.write_text("")
    assert run(tmp_path) == 0
    assert precious.exists()
    assert "summary.json" in record.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", 7), ("kind", "kfold"), ("joined", [["s", "t", 0.99]]), ("val_fraction", 0.5)],
)
def test_a_split_that_was_edited_after_training_is_no_evidence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: object
) -> None:
    sweep = make_sweep(tmp_path)
    split = replace(sweep.config.split, sha256=read_file(sweep.splits).sha256)
    write_sweep(replace(sweep, config=replace(sweep.config, split=split)))
    content = json.loads(sweep.splits.read_text(encoding="utf-8"))
    sweep.splits.write_text(json.dumps(content | {key: value}), encoding="utf-8")
    assert run(tmp_path) == 2
    assert "is not the split that this sweep was submitted with" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_split_is_refused_by_the_hash_of_earlier_versions_too(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    file = read_file(sweep.splits)
    require_unchanged(file, file.folds_sha256)
    with pytest.raises(UserError, match="edited"):
        require_unchanged(replace(file, classes=file.classes[::-1]), file.folds_sha256)
