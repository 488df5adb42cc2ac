"""New scans through a finished run: preprocessing, network and table are those of the run."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from launch import local, predict, submit
from preprocessing.__main__ import main as preprocess
from stfmri.learning.models import load_trained
from stfmri.study import config as configuration
from stfmri.study.config import Config, DataConfig
from stfmri.study.errors import UserError
from stfmri.study.predictions import read
from stfmri.study.serialise import load_yaml
from stfmri.study.shards import open_shard, read_index
from tests.launch.conftest import train_in_this_process

pytestmark = pytest.mark.slow
SHAPE = (40, 48, 36)
GRID = ("preprocessing.spacing_mm=8", "preprocessing.field_mm=[96,104,80]")


def write_scan(path: Path, level: float, seed: int) -> None:
    """A stripped ellipsoid brain of 2 mm voxels, brighter on top by `level`."""
    generator = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    brain = sum(axis**2 for axis in axes) < 0.8
    values = 100 + level * axes[2] + 10 * generator.standard_normal(SHAPE)
    image = nib.Nifti1Image(np.where(brain, values, 0).astype(np.float32), np.diag([2, 2, 2, 1]))
    nib.save(image, path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with ten scans, preprocessed, and a run trained on them."""
    root = tmp_path_factory.mktemp("predict")
    rows = ["subject_id,path,label"]
    for number in range(10):
        write_scan(root / f"s{number}.nii.gz", 60.0 if number % 2 else -60.0, number)
        rows.append(f"s{number},s{number}.nii.gz,{'up' if number % 2 else 'down'}")
    (root / "cohort.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    data = ("data=table", f"data.table={root / 'cohort.csv'}", "data.name=made")
    data = (*data, "data.stripped=true", "data.label=label", "data.classes=[down,up]", *GRID)
    assert preprocess(["--root", str(root), "--jobs", "1", *data]) == 0
    typed = (
        "split.n=1",
        "split.near_duplicates=apart",
        "train.epochs=2",
        "train.precision=fp32",
        "train.threads=1",
    )
    typed = (*typed, "sweep.models=[mc3_18]", "sweep.axes={}", "cluster=local")
    typed = (*typed, "sweep.baselines=[]")
    with pytest.MonkeyPatch.context() as monkeypatch:
        train_in_this_process(monkeypatch)
        monkeypatch.setattr(local, "collect", lambda arguments: 0)  # it is the network that counts
        assert submit.main(["--sweep", "demo", "--root", str(root), *data, *typed]) == 0
    return root


def test_a_test_scan_gets_the_probabilities_of_the_runs_own_table(trained: Path) -> None:
    run = trained / "runs/demo/mc3_18-scratch/fold0"
    table = {row.subject_id: row for row in read(run / "predictions.csv").rows}
    scans = [str(trained / f"{subject}.nii.gz") for subject in table]
    out = trained / "out.csv"
    assert predict.main(["--run", str(run), "--stripped", "--out", str(out), *scans]) == 0
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(table)
    for row, expected in zip(rows, table.values(), strict=True):
        assert row["prediction"] == expected.prediction
        found = [float(row["prob_down"]), float(row["prob_up"])]
        assert found == pytest.approx(expected.probabilities, abs=1e-4)


def test_the_model_carries_the_chain_of_the_runs_volumes(trained: Path) -> None:
    model = load_trained(trained / "runs/demo/mc3_18-scratch/fold0")
    [shard] = (trained / "data/cache").glob("made-*/*.h5")
    assert model.chain == load_yaml(open_shard(shard).chain, "")


def test_a_model_of_other_volumes_than_this_program_makes_is_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "CHAIN_VERSION", 99)
    with pytest.raises(UserError, match=r"made with version=2; .* with 99"):
        load_trained(trained / "runs/demo/mc3_18-scratch/fold0")


def test_files_of_several_contrasts_are_dealt_to_subjects() -> None:
    config = Config(data=DataConfig(contrasts=("t1ce", "flair")))
    words = ["flair=/a f.nii", "t1ce=/a t.nii", "t1ce=/b=t.nii", "flair=/b.nii"]
    assert predict.subjects_of(words, config) == [
        {"t1ce": Path("/a t.nii"), "flair": Path("/a f.nii")},
        {"t1ce": Path("/b=t.nii"), "flair": Path("/b.nii")},
    ]
    with pytest.raises(UserError, match=r"flair=/c\.nii lacks t1ce"):
        predict.subjects_of([*words, "flair=/c.nii"], config)
    zeros = Config(data=DataConfig(contrasts=("t1ce", "flair"), missing="zeros"))
    assert predict.subjects_of(["flair=/c.nii"], zeros) == [{"flair": Path("/c.nii")}]
    with pytest.raises(UserError, match=r"expected t1ce=FILE flair=FILE, found x\.nii"):
        predict.subjects_of(["x.nii"], config)


def test_a_scan_that_the_run_was_trained_on_is_pointed_out_whatever_its_name(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained / "runs/demo/mc3_18-scratch/fold0"
    cache = trained / "data/cache"
    tested = {row.subject_id for row in read(run / "predictions.csv").rows}
    known = {row.subject_id for row in read_index(next(cache.glob("made-*")))}
    seen, new = min(known - tested), min(tested)
    renamed = tmp_path / "renamed.nii.gz"
    renamed.write_bytes((trained / f"{seen}.nii.gz").read_bytes())
    scans = [str(renamed), str(trained / f"{new}.nii.gz")]
    told = []
    for folder in (cache, tmp_path / "gone"):  # with the run's cache, and without
        cache.rename(folder)
        try:
            assert predict.main(["--run", str(run), "--stripped", *scans]) == 0
        finally:
            assert not (folder != cache and cache.exists())
            folder.rename(cache)
        told.append(capsys.readouterr())
    assert told[0] == told[1]
    [warning] = [line for line in told[0].err.splitlines() if "warning" in line]
    assert f"{renamed} is a scan that this run was trained on" in warning


def test_a_bad_scan_is_named_and_the_others_go_on(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained / "runs/demo/mc3_18-scratch/fold0"
    (trained / "torn.nii.gz").write_bytes((trained / "s1.nii.gz").read_bytes()[:2000])
    scans = [str(trained / name) for name in ("torn.nii.gz", "none.nii.gz", "s1.nii.gz")]
    assert predict.main(["--run", str(run), "--stripped", *scans]) == 1
    told = capsys.readouterr()
    assert "torn.nii.gz" in told.err
    assert "none.nii.gz" in told.err
    assert "s1.nii.gz" in told.out
    assert "for research only" in told.out


def test_with_no_usable_scan_there_is_no_table(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained / "runs/demo/mc3_18-scratch/fold0"
    assert predict.main(["--run", str(run), str(trained / "none.nii.gz")]) == 1
    assert capsys.readouterr().out == ""


def test_a_table_goes_into_a_folder_that_is_there(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(trained / "runs/demo/mc3_18-scratch/fold0")
    out = tmp_path / "mistyped" / "p.csv"
    assert predict.main(["--run", run, "--out", str(out), "a.nii.gz"]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert not out.parent.exists()


def test_a_mask_belongs_to_one_scan(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(trained / "runs/demo/mc3_18-scratch/fold0")
    assert predict.main(["--run", run, "--mask", "m.nii.gz", "a.nii.gz", "b.nii.gz"]) == 2
    assert "found 2 subjects" in capsys.readouterr().err


def test_a_run_that_has_not_finished_is_refused(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained / "runs/demo/mc3_18-scratch/fold0"
    (tmp_path / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    assert predict.main(["--run", str(tmp_path), "a.nii.gz"]) == 2
    assert "has not finished" in capsys.readouterr().err
