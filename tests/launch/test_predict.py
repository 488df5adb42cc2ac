"""New scans through finished runs: refused or answered, and what is said of each answer."""

from __future__ import annotations

import csv
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from launch import local, predict, submit
from launch.prediction import examine
from launch.prediction.subjects import files_of
from preprocessing.__main__ import main as preprocess
from preprocessing.phantom.cohort import make_cohort
from stfmri.learning import models
from stfmri.learning.models import load_trained
from stfmri.study import config as configuration
from stfmri.study.config.data import DataConfig
from stfmri.study.config.training import ModelConfig
from stfmri.study.errors import UserError
from stfmri.study.predictions import is_done, read
from stfmri.study.quality import read as read_quality
from stfmri.study.serialise import load_yaml
from stfmri.study.shards import open_shard, read_index
from tests.launch.conftest import train_in_this_process
from tests.learning.small import SMALL

pytestmark = pytest.mark.slow
CLASSES = ("healthy", "tumour")
VARIANT = "runs/demo/mc3_18-scratch"


@dataclass(frozen=True)
class Cohort:
    """Phantoms: tumours come brain-extracted, healthy heads with a mask of their brain."""

    folder: Path

    @property
    def table(self) -> Path:
        return self.folder / "cohort.csv"

    @property
    def heads(self) -> list[Path]:
        return sorted((self.folder / "IXI-T1").glob("*.nii.gz"))

    @property
    def brains(self) -> list[Path]:
        return sorted((self.folder / "MICCAI_BraTS_2019_Data_Training").rglob("*.nii.gz"))

    def mask(self, scan: Path) -> Path:
        return self.folder / "masks" / scan.name


def make(folder: Path, seed: int, tumours: int, healthy: int, *contrasts: str) -> Cohort:
    made = Cohort(folder)
    make_cohort(
        folder,
        lgg=tumours // 2,
        hgg=tumours - tumours // 2,
        healthy=healthy,
        contrasts=contrasts,
        spacing=8.0,
        seed=seed,
        masks=True,
    )
    rows = ["subject_id,path,label,stripped,mask"]
    rows += [f"{name_of(path)},{path},tumour,true," for path in made.brains]
    rows += [f"{name_of(path)},{path},healthy,false,{made.mask(path)}" for path in made.heads]
    made.table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return made


def name_of(scan: Path) -> str:
    return scan.name.removesuffix(".nii.gz")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cohort of twelve phantoms, preprocessed, and a variant of two folds trained on it."""
    root = tmp_path_factory.mktemp("predict")
    cohort = make(root / "cohort", seed=1, tumours=6, healthy=6)
    data = ("data=table", f"data.table={cohort.table}", "data.name=made", "preprocessing=mm8")
    data = (*data, f"data.classes=[{','.join(CLASSES)}]")
    assert preprocess(["--root", str(root), "--jobs", "1", *data]) == 0
    typed = ("split.n=2", "train.epochs=2", "train.steps=0", "train.precision=fp32")
    typed = (*typed, "train.threads=1", "sweep.models=[mc3_18]", "sweep.axes={}", "cluster=local")
    typed = (*typed, "sweep.baselines=[]")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(models.NETWORKS, "mc3_18", SMALL)
        with pytest.MonkeyPatch.context() as here:
            train_in_this_process(here)
            here.setattr(local, "collect", lambda *_: 0)  # it is the networks that count
            assert submit.main(["--sweep", "demo", "--root", str(root), *data, *typed]) == 0
        yield root


@pytest.fixture(scope="module")
def cohort(root: Path) -> Cohort:
    """Some of whose subjects each fold was trained on."""
    return Cohort(root / "cohort")


@pytest.fixture(scope="module")
def other(root: Path) -> Cohort:
    """A cohort of another seed."""
    return make(root / "other", seed=2, tumours=4, healthy=4)


def run_of(root: Path, fold: int = 0) -> Path:
    return root / VARIANT / f"fold{fold}"


def seen_by(root: Path, fold: int, among: list[Path]) -> list[Path]:
    """Scans of the cohort that a fold was trained on."""
    tested = {row.subject_id for row in read(run_of(root, fold) / "predictions.csv").rows}
    return [scan for scan in among if name_of(scan) not in tested]


def unseen_by(root: Path, fold: int, among: list[Path]) -> list[Path]:
    trained = seen_by(root, fold, among)
    return [scan for scan in among if scan not in trained]


def table_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def probabilities(row: dict[str, str]) -> list[float]:
    return [float(row[f"prob_{name}"]) for name in CLASSES]


def warnings_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("warning: ")]


# What a network answers


def test_a_test_scan_gets_the_probabilities_of_the_runs_own_table(
    root: Path, cohort: Cohort, tmp_path: Path
) -> None:
    run = run_of(root)
    expected = {row.subject_id: row for row in read(run / "predictions.csv").rows}
    scans = unseen_by(root, 0, cohort.brains)
    out = tmp_path / "out.csv"
    told = ["--run", str(run), "--stripped", "--out", str(out), *map(str, scans)]
    assert predict.main(told) == 0
    rows = table_of(out)
    assert len(rows) == len(scans) > 0
    for row, scan in zip(rows, scans, strict=True):
        assert row["prediction"] == expected[name_of(scan)].prediction
        assert probabilities(row) == pytest.approx(expected[name_of(scan)].probabilities, abs=1e-4)
        assert row["seen_by"] == "0"


def by_hand(run: Path, stored_CDHW: NDArray[np.float16]) -> NDArray[np.float64]:
    """The class probabilities of a stored volume, from the weights alone."""
    network = models.build(ModelConfig(name="mc3_18"), len(CLASSES), seed=1, channels=1).eval()
    network.load_state_dict(torch.load(run / "model.pt", weights_only=True)["state_dict"])
    with torch.inference_mode():
        logits = network(torch.from_numpy(stored_CDHW.astype(np.float32))[None])[0]
    powers = np.exp(logits.double().numpy())
    return powers / powers.sum()


def test_a_variant_answers_with_the_mean_of_its_folds_and_shows_their_range(
    root: Path, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = cohort.brains[0]
    [shard] = (root / "data/cache").glob("made-*/shard-0000.h5")
    with h5py.File(shard) as file:
        ids = [name.decode() for name in file["subject_ids"][()]]
        stored_CDHW = file["volumes"][ids.index(name_of(scan))]
    said = np.array([by_hand(run_of(root, fold), stored_CDHW) for fold in (0, 1)])
    out = tmp_path / "out.csv"
    asked = ["--stripped", "--out", str(out), str(scan)]
    assert predict.main(["--run", str(root / VARIANT), *asked]) == 0
    [row] = table_of(out)
    assert probabilities(row) == pytest.approx(said.mean(axis=0), abs=1e-4)
    for prefix, expected in (("low", said.min(axis=0)), ("high", said.max(axis=0))):
        found = [float(row[f"{prefix}_{name}"]) for name in CLASSES]
        assert found == pytest.approx(expected, abs=1e-4)
    assert row["networks"] == "2"
    assert f"({said[:, 0].min():.2f}–{said[:, 0].max():.2f})" in capsys.readouterr().out
    # Runs that are named one by one add up to the same.
    runs = [part for fold in (0, 1) for part in ("--run", str(run_of(root, fold)))]
    assert predict.main([*runs, *asked]) == 0
    assert table_of(out) == [row]


def test_each_network_is_loaded_once_and_each_scan_preprocessed_once(
    root: Path, other: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"load": 0, "process": 0}

    def counted(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            calls[name] += 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(torch, "load", counted("load", torch.load))
    monkeypatch.setattr(examine, "process", counted("process", examine.process))
    words = ["--run", str(root / VARIANT), "--stripped", *map(str, other.brains[:3])]
    assert predict.main(words) == 0
    assert calls == {"load": 2, "process": 3}


def test_a_sweep_answers_with_the_leading_variant_of_its_results(
    root: Path, cohort: Cohort, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--stripped", str(cohort.brains[0])]
    assert predict.main(["--run", str(root / "runs/demo"), *asked]) == 2
    assert "python -m stfmri.collect --sweep demo" in capsys.readouterr().err
    assert predict.main(["--run", str(root / VARIANT), *asked]) == 0
    expected = capsys.readouterr().out
    summary = root / "results/demo/summary.json"
    summary.parent.mkdir(parents=True)
    content = {"leader": "mc3_18-scratch+ensemble", "complete": False}
    summary.write_text(json.dumps(content), encoding="utf-8")
    assert predict.main(["--run", str(root / "runs/demo"), *asked]) == 0
    told = capsys.readouterr()
    assert told.out == expected
    assert "the leading variant of the sweep demo" in told.err
    assert "results of demo are incomplete" in told.err
    summary.write_text("{", encoding="utf-8")
    assert predict.main(["--run", str(root / "runs/demo"), *asked]) == 2
    assert f"{summary} is damaged" in capsys.readouterr().err


def test_networks_of_other_volumes_are_not_averaged(
    root: Path, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "elsewhere" / "fold0"
    run.mkdir(parents=True)
    text = (run_of(root) / "config.yaml").read_text(encoding="utf-8")
    (run / "config.yaml").write_text(text.replace("bias: none", "bias: n4"), encoding="utf-8")
    model = torch.load(run_of(root) / "model.pt", weights_only=True)
    model["chain"] = model["chain"].replace("bias: none", "bias: n4")
    torch.save(model, run / "model.pt")
    runs = ["--run", str(run_of(root)), "--run", str(run)]
    assert predict.main([*runs, "--stripped", str(cohort.brains[0])]) == 2
    assert "preprocessing.bias=n4" in capsys.readouterr().err


# What is refused, and what is answered


def quantised(scan: Path, target: Path, levels: int) -> Path:
    image = nib.load(scan)
    values = np.asarray(image.dataobj, np.float32)
    coarse = np.round(values / values.max() * levels).astype(np.uint8)
    nib.save(nib.Nifti1Image(coarse, image.affine), target)
    return target


def cropped(scan: Path, target: Path) -> Path:
    """A corner of the brain."""
    image = nib.load(scan)
    values = np.asarray(image.dataobj).copy()
    values[tuple(slice(0, size // 2) for size in values.shape)] = 0
    values[values.shape[0] // 2 :] = 0
    values[:, : values.shape[1] // 2 + 2] = 0
    nib.save(nib.Nifti1Image(values, image.affine), target)
    return target


def four_times(scan: Path, target: Path) -> Path:
    image = nib.load(scan)
    values = np.asarray(image.dataobj)
    nib.save(nib.Nifti1Image(np.stack([values] * 4, axis=-1), image.affine), target)
    return target


def pipe(target: Path) -> Path:
    os.mkfifo(target)
    return target


def case(name: str, root: Path, cohort: Cohort, other: Cohort, tmp: Path) -> list[str]:
    """The words of one call, after --run."""
    head, brain, scan = other.heads[0], other.brains[0], tmp / "scan.nii"
    made = {
        "a segmentation": lambda: ["--stripped", str(other.mask(brain))],
        "a parcellation": lambda: ["--stripped", str(parcellation(brain, scan))],
        "a binary mask": lambda: [str(other.mask(head))],
        "few values": lambda: ["--stripped", str(quantised(brain, scan, 12))],
        "stripped without the flag": lambda: [str(brain)],
        "a head with it": lambda: ["--stripped", str(head)],
        "four dimensions": lambda: ["--stripped", str(four_times(brain, scan))],
        "a pipe": lambda: [str(pipe(scan))],
        "a pipe as mask": lambda: ["--mask", str(pipe(scan)), str(head)],
        "a device": lambda: ["/dev/zero"],
        "a piece of a brain": lambda: ["--stripped", str(cropped(brain, scan))],
        "another contrast by name": lambda: ["--stripped", f"flair={brain}"],
        "stripped with the flag": lambda: ["--stripped", str(brain)],
        "eight bits": lambda: ["--stripped", str(quantised(brain, scan, 255))],
        "a head with its mask": lambda: ["--mask", str(other.mask(head)), str(head)],
        "another contrast": lambda: ["--stripped", str(t2_of(root))],
        "a training scan": lambda: trained_head(root, cohort, None),
        "a training scan with another mask": lambda: trained_head(root, cohort, scan),
    }
    return made[name]()


def parcellation(scan: Path, target: Path) -> Path:
    """Some 60 labels in blocks, on the brain of a scan."""
    image = nib.load(scan)
    inside = np.asarray(image.dataobj) > 0
    # Finer voxels, as a parcellation has them: at 8 mm a region is a few voxels.
    inside = np.kron(inside, np.ones((3, 3, 3), bool))
    i, j, k = np.indices(inside.shape) // 12
    labels = np.where(inside, 1 + i % 8 + 8 * (j % 8) + 64 * (k % 2), 0)
    affine = image.affine @ np.diag([1 / 3, 1 / 3, 1 / 3, 1])
    nib.save(nib.Nifti1Image(labels.astype(np.int16), affine), target)
    return target


def t2_of(root: Path) -> Path:
    found = Cohort(root / "t2")
    if not found.table.is_file():
        make(root / "t2", 3, 2, 0, "t2")
    return found.brains[0]


def trained_head(root: Path, cohort: Cohort, other_mask: Path | None) -> list[str]:
    """A head that fold 0 was trained on, with its own mask or with one that is a voxel larger."""
    scan = seen_by(root, 0, cohort.heads)[0]
    mask = cohort.mask(scan)
    if other_mask is not None:
        image = nib.load(mask)
        larger = np.asarray(image.dataobj) > 0
        for axis in range(3):
            larger = larger | np.roll(larger, 1, axis)
        nib.save(nib.Nifti1Image(larger.astype(np.uint8), image.affine), other_mask)
        mask = other_mask
    return ["--mask", str(mask), str(scan)]


REFUSED = {
    "a segmentation": "different values are a label image's",
    "a parcellation": "a label image is no scan",
    "a binary mask": "a binary mask is no scan",
    "few values": "different values are a label image's",
    "stripped without the flag": "looks brain-extracted already; say so with --stripped",
    "a head with it": "looks like a whole head",
    "four dimensions": "expected a 3-D volume",
    "a pipe": "expected a regular file, found a",
    "a pipe as mask": "expected a regular file, found a",
    "a device": "expected a regular file, found a",
    "a piece of a brain": "look at the scan, its voxel size and its mask",
    "another contrast by name": "expected FILE, found flair=",
}
ANSWERED = {
    "stripped with the flag": [],
    "eight bits": [],
    "a head with its mask": [],
    "another contrast": ["outside the training distribution"],
    "a training scan": ["the network was trained on this scan: "],
    "a training scan with another mask": ["trained on this scan, with another brain mask"],
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(
    name: str,
    root: Path,
    cohort: Cohort,
    other: Cohort,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = case(name, root, cohort, other, tmp_path)
    assert predict.main(["--run", str(run_of(root)), *words]) in (1, 2)
    told = capsys.readouterr()
    assert REFUSED[name] in told.err
    assert len(told.err.splitlines()) == 1
    assert told.out == ""


@pytest.mark.parametrize("name", ANSWERED)
def test_answered(
    name: str,
    root: Path,
    cohort: Cohort,
    other: Cohort,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = case(name, root, cohort, other, tmp_path)
    assert predict.main(["--run", str(run_of(root)), *words]) == 0
    told = capsys.readouterr()
    found = warnings_of(told.err)
    assert len(found) == len(ANSWERED[name]), found
    for expected, line in zip(ANSWERED[name], found, strict=True):
        assert expected in line
    assert "for research only" in told.out
    assert ("outside" in told.out) == (name == "another contrast")


def test_a_brain_found_in_another_way_than_in_training_is_pointed_out(
    root: Path, other: Cohort, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Extraction itself is tested elsewhere, on heads that it was made for.
    head = other.heads[0]
    true = np.asarray(nib.load(other.mask(head)).dataobj) > 0
    monkeypatch.setattr("preprocessing.brain.brain_mask", lambda image, name: true)
    assert predict.main(["--run", str(run_of(root)), str(head)]) == 0
    told = capsys.readouterr()
    [warning] = warnings_of(told.err)
    assert "its brain mask is extracted by deepbet" in warning
    assert "those of the training scans were" in warning
    assert "given" in warning
    assert "extracted by deepbet" in told.out


def test_a_scan_that_was_trained_on_is_known_without_the_cache_and_by_another_name(
    root: Path, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = root / "data/cache"
    renamed = tmp_path / "renamed.nii.gz"
    renamed.write_bytes(seen_by(root, 0, cohort.brains)[0].read_bytes())
    scans = [str(renamed), str(unseen_by(root, 0, cohort.brains)[0])]
    told = []
    for folder in (cache, tmp_path / "gone"):  # with the run's cache, and without
        cache.rename(folder)
        try:
            assert predict.main(["--run", str(run_of(root)), "--stripped", *scans]) == 0
        finally:
            folder.rename(cache)
        told.append(capsys.readouterr())
    assert told[0] == told[1]
    [warning] = warnings_of(told[0].err)
    assert f"{renamed.name}: the network was trained on this scan" in warning


def test_of_several_networks_it_is_said_how_many_were_trained_on_a_scan(
    root: Path, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (set(seen_by(root, fold, cohort.brains)) for fold in (0, 1))
    by_one, by_both = sorted(first - second), sorted(first & second)
    for scans, count in (
        (by_one, "1 of the 2 networks was"),
        (by_both, "2 of the 2 networks were"),
    ):
        for scan in scans[:1]:
            words = ["--run", str(root / VARIANT), "--stripped", str(scan)]
            assert predict.main(words) == 0
            assert f"{count} trained on" in capsys.readouterr().err


# What a run keeps


def test_the_model_carries_the_chain_and_the_quality_of_its_training_volumes(root: Path) -> None:
    model = load_trained(run_of(root))
    [cache] = (root / "data/cache").glob("made-*")
    assert model.chain == load_yaml(open_shard(cache / "shard-0000.h5").chain, "")
    known, rows = read_quality(cache), {row.sha256: row for row in read_index(cache)}
    assert {scan.sha256 for scan in model.training_scans} == model.trained_on
    for scan in model.training_scans:
        row = rows[scan.sha256]
        assert scan.quality == known[row.subject_id]
        healthy = row.columns["label"] == "healthy"
        assert scan.quality.brain == ("given" if healthy else "stripped")
        assert 900 < scan.quality.numbers["brain_ml"] < 2200


def test_a_model_of_other_volumes_than_this_program_makes_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "CHAIN_VERSION", 99)
    with pytest.raises(UserError, match=r"made with version=2; .* with 99"):
        load_trained(run_of(root))


def test_an_earlier_model_answers_and_says_that_it_could_not_compare(
    root: Path, other: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "fold0"
    run.mkdir()
    (run / "config.yaml").write_bytes((run_of(root) / "config.yaml").read_bytes())
    model = torch.load(run_of(root) / "model.pt", weights_only=True)
    del model["training_scans"]
    torch.save(model, run / "model.pt")
    assert predict.main(["--run", str(run), "--stripped", str(other.brains[0])]) == 0
    told = capsys.readouterr()
    assert "not known" in told.out
    assert told.err == ""


# External cohorts


@pytest.fixture(scope="module")
def external(root: Path, other: Cohort) -> Path:
    """What is written of another cohort, one of whose scans is a mask."""
    table = root / "other.csv"
    wrong = f"wrong,{other.mask(other.heads[0])},healthy,true,\n"
    table.write_text(other.table.read_text(encoding="utf-8") + wrong, encoding="utf-8")
    out = root / "external"
    words = ["--run", str(root / VARIANT), "--table", str(table), "--out", str(out)]
    assert predict.main(words) == 1
    return out


def test_a_cohort_of_another_seed_is_reported_as_an_external_test_with_its_own_interval(
    external: Path, other: Cohort
) -> None:
    table = read(external / "predictions.csv")
    assert table.classes == CLASSES
    assert {row.split for row in table.rows} == {"external"}
    assert {row.subject_id: row.label for row in table.rows} == {
        **dict.fromkeys(map(name_of, other.heads), "healthy"),
        **dict.fromkeys(map(name_of, other.brains), "tumour"),
    }
    assert not is_done(external, 0)  # nobody takes it for a run's
    summary = json.loads((external / "summary.json").read_text(encoding="utf-8"))
    assert "external test: 8 scans of 8 patients" in summary["split"]
    [variant] = summary["variants"].values()
    right = np.mean([row.label == row.prediction for row in table.rows])
    assert variant["accuracy"]["pooled"] == pytest.approx(right)
    low, high = variant["accuracy"]["ci95"]
    assert low <= right <= high
    assert low < high
    page = (external / "report.html").read_text(encoding="utf-8")
    assert "External test: 8 scans of 8 patients" in page
    assert "in the external test; 95 % interval" in page
    assert "Mixed Convolution, mean of 2 networks" in page


def test_refused_scans_of_a_cohort_are_named_in_its_report_and_count_nowhere(
    external: Path,
) -> None:
    assert len(read(external / "predictions.csv").rows) == 8
    assert "wrong" in (external / "rejected.csv").read_text(encoding="utf-8")
    assert "binary mask" in (external / "rejected.csv").read_text(encoding="utf-8")
    summary = json.loads((external / "summary.json").read_text(encoding="utf-8"))
    assert summary["split_notes"][0].startswith("1 of the 9 scans of other.csv were refused")


def test_an_external_test_of_a_training_scan_is_refused_and_nothing_is_written(
    root: Path,
    cohort: Cohort,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(examine, "process", None)  # the stored numbers tell, before any of it
    out = tmp_path / "external"
    words = ["--run", str(run_of(root)), "--table", str(cohort.table), "--out", str(out)]
    assert predict.main(words) == 2
    said = capsys.readouterr().err
    assert "the networks were trained on" in said
    assert "leave them out" in said
    assert not out.exists()


def test_a_table_of_other_classes_is_refused(
    root: Path, other: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    text = other.table.read_text(encoding="utf-8").replace("tumour", "glioma")
    table.write_text(text, encoding="utf-8")
    assert predict.main(["--run", str(run_of(root)), "--table", str(table)]) == 2
    assert "must hold healthy, tumour, which the run tells apart; found glioma" in (
        capsys.readouterr().err
    )


# Files


def test_the_page_shows_every_scan_with_its_mask_and_what_each_network_said(
    root: Path, other: Cohort, tmp_path: Path
) -> None:
    odd = tmp_path / "<img src=x onerror=alert(1)>.nii.gz"
    odd.write_bytes(other.brains[0].read_bytes())
    page = tmp_path / "page.html"
    scans = [str(odd), str(other.brains[1]), str(other.mask(other.brains[0]))]
    words = ["--run", str(root / VARIANT), "--stripped", "--report", str(page), *scans]
    assert predict.main(words) == 1
    text = page.read_text(encoding="utf-8")
    assert "<img src=x" not in text
    assert text.count("data:image/png;base64,") == 2
    assert text.count("<td>Mixed Convolution, fold 0</td>") == 2
    assert text.count("<td>Mixed Convolution, fold 1</td>") == 2
    assert "different values are a label image" in text
    assert "<h1>Mixed Convolution</h1>" in text
    assert "<title>Mixed Convolution · predictions</title>" in text
    assert "classes in the column label, as learned on the cohort made" in text
    assert "http" not in text  # nothing is loaded from elsewhere
    assert stat.S_IMODE(page.stat().st_mode) == 0o600


@pytest.mark.parametrize("flag", ["--out", "--report"])
@pytest.mark.parametrize("kind", ["a folder that is not there", "a pipe"])
def test_answers_go_into_regular_files_of_folders_that_are_there(
    flag: str, kind: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "mistyped" / "p.csv" if "folder" in kind else pipe(tmp_path / "p.csv")
    assert predict.main(["--run", str(run_of(root)), flag, str(target), "a.nii.gz"]) == 2
    said = capsys.readouterr().err
    assert ("there is no folder" in said) == ("folder" in kind)
    assert ("a pipe or a device" in said) == (kind == "a pipe")


def test_an_external_test_is_not_written_among_other_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cohort.csv").write_text("mine")
    words = ["--run", "anything", "--table", str(tmp_path / "cohort.csv"), "--out", str(tmp_path)]
    assert predict.main(words) == 2
    assert "holds other files; name a new folder" in capsys.readouterr().err
    assert (tmp_path / "cohort.csv").read_text() == "mine"


def test_a_bad_scan_is_named_and_the_others_go_on(
    root: Path, other: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torn.nii.gz").write_bytes(other.brains[0].read_bytes()[:2000])
    scans = [tmp_path / "torn.nii.gz", other.brains[0]]
    assert predict.main(["--run", str(run_of(root)), "--stripped", *map(str, scans)]) == 1
    told = capsys.readouterr()
    assert "torn.nii.gz" in told.err
    assert other.brains[0].name in told.out


@pytest.mark.parametrize(
    "words", [["none.nii"], ["--mask", "none.nii", "BRAIN"], ["--table", "none.nii"]]
)
def test_a_path_without_a_file_is_refused_before_any_network_is_loaded(
    words: list[str],
    root: Path,
    other: Cohort,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(models, "load_trained", None)
    words = [word.replace("BRAIN", str(other.brains[0])) for word in words]
    assert predict.main(["--run", str(run_of(root)), *words]) == 2
    assert f"there is no file {Path.cwd() / 'none.nii'}" in capsys.readouterr().err


# Calls


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--mask", "m.nii.gz", "a.nii.gz", "b.nii.gz"], "found 2 subjects"),
        ([], "give scans, or a labelled cohort with --table"),
        (["--table", "c.csv", "a.nii.gz"], "give scans, or a labelled cohort with --table"),
        (["--table", "c.csv", "--mask", "m.nii.gz"], "use its column mask"),
        (["--label", "age", "a.nii.gz"], "--label is the column of the class in --table"),
        (["--table", "/dev/null"], "expected a regular file, found a device"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    words: list[str], complaint: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict.main(["--run", str(run_of(root)), *words]) == 2
    assert complaint in capsys.readouterr().err


def test_a_run_that_has_not_finished_is_refused_and_so_is_a_variant_with_one(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for fold in (0, 1):
        run = tmp_path / "variant" / f"fold{fold}"
        run.mkdir(parents=True)
        (run / "config.yaml").write_bytes((run_of(root) / "config.yaml").read_bytes())
    (tmp_path / "variant/fold0/model.pt").write_bytes((run_of(root) / "model.pt").read_bytes())
    for folder in (tmp_path / "variant/fold1", tmp_path / "variant"):
        assert predict.main(["--run", str(folder), "a.nii.gz"]) == 2
        assert "fold1/model.pt: the run has not finished" in capsys.readouterr().err
    assert predict.main(["--run", str(tmp_path), "a.nii.gz"]) == 2
    assert "must be a run" in capsys.readouterr().err


def test_files_of_several_contrasts_are_dealt_to_subjects() -> None:
    data = DataConfig(contrasts=("t1ce", "flair"))
    words = ["flair=/a f.nii", "t1ce=/a t.nii", "t1ce=/b=t.nii", "flair=/b.nii"]
    assert files_of(words, data) == [
        {"t1ce": Path("/a t.nii"), "flair": Path("/a f.nii")},
        {"t1ce": Path("/b=t.nii"), "flair": Path("/b.nii")},
    ]
    with pytest.raises(UserError, match=r"flair=/c\.nii lacks t1ce"):
        files_of([*words, "flair=/c.nii"], data)
    zeros = DataConfig(contrasts=("t1ce", "flair"), missing="zeros")
    assert files_of(["flair=/c.nii"], zeros) == [{"flair": Path("/c.nii")}]
    with pytest.raises(UserError, match=r"expected t1ce=FILE flair=FILE, found x\.nii"):
        files_of(["x.nii"], data)
