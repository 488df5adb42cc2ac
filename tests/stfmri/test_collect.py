from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stfmri import collect
from tests.evidence.sweeps import make_sweep


def run(root: Path, *arguments: str) -> int:
    return collect.main(["--sweep", "full", "--root", str(root), *arguments])


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    make_sweep(root, note="Of no meaning.")
    assert run(root) == 0
    return root / "results" / "full"


def test_a_complete_sweep_gives_tables_figures_summary_and_report(complete: Path) -> None:
    assert {path.name for path in complete.iterdir()} == {
        "figures",
        "tables",
        "summary.json",
        "report.html",
    }
    endings = {path.suffix for path in (complete / "tables").iterdir()}
    assert endings == {".csv", ".md", ".tex"}
    assert {path.suffix for path in (complete / "figures").iterdir()} == {".png", ".pdf"}
    for name in ("table1_parameters", "table2_f1_LGG", "table5_consolidated", "confusion"):
        assert (complete / "tables" / f"{name}.csv").is_file()
    for name in ("forest_macro_f1", "confusion_r3d_18", "class_heatmaps", "training_curves"):
        assert (complete / "figures" / f"{name}.pdf").stat().st_size > 1000
    page = (complete / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml;base64,") == 4
    assert "Of no meaning." in page
    assert "Incomplete" not in page
    assert json.loads((complete / "summary.json").read_text(encoding="utf-8"))["complete"]


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


def test_an_incomplete_sweep_is_written_and_marked_on_request(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    (sweep.runs[4].folder / "predictions.csv").unlink()
    assert run(tmp_path, "--allow-partial") == 0
    results = tmp_path / "results" / "full"
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    assert summary["complete"] is False
    assert summary["missing"] == ["r3d_18-kinetics/fold1"]
    assert summary["variants"]["r3d_18-kinetics"]["folds"] == 2
    assert summary["leader"] == "r3d_18-scratch"
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "Incomplete" in page
    assert "missing: no predictions" in page


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


def test_collecting_twice_gives_the_same_files(tmp_path: Path) -> None:
    make_sweep(tmp_path)
    contents = []
    for _ in range(2):
        assert run(tmp_path) == 0
        found = sorted((tmp_path / "results").rglob("*.*"))
        contents.append({path: path.read_bytes() for path in found})
    assert contents[0] == contents[1]


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
