"""A study in one command: what is found, what is warned of, what is written and what is refused."""

from __future__ import annotations

import shlex
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import stfmri.study.compose
from launch import new, study_file, submit
from launch.cautions import cautions
from launch.class_column import class_names, class_of, proposed_edges
from launch.study_file import MARK, MODELS_ON_A_CPU, Place, here, settings_for, sweep_text
from preprocessing.cohorts.columns import Column
from preprocessing.cohorts.survey import Looked, Survey
from stfmri.study.compose import compose
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig
from stfmri.study.overrides import flatten
from tests.preprocessing.conftest import brain_values, write_scan

LAPTOP = Place("no GPU and no SLURM here", fast=False)
SUBJECTS = 24


@pytest.fixture(autouse=True)
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of conf/ to write to, on a machine without SLURM and without a GPU."""
    copy = tmp_path / "conf"
    shutil.copytree(stfmri.study.compose.CONF, copy)
    monkeypatch.setattr(stfmri.study.compose, "CONF", copy)
    monkeypatch.setattr(new, "CONF", copy)
    monkeypatch.setattr(new, "here", lambda: LAPTOP)
    monkeypatch.setattr("launch.cluster.has_slurm", lambda: False)
    monkeypatch.setattr("launch.states.has_slurm", lambda: False)
    forget()
    return copy


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twenty-four stripped brains, in a folder whose name no grammar likes."""
    folder = tmp_path / "my, ${x} 'cohort' (ü)=1"
    scan = write_scan(folder / "0.nii", brain_values(0))
    lines = ["subject_id;path;sex;age"]
    for index in range(SUBJECTS):
        if index:
            shutil.copy(scan, folder / f"{index}.nii")
        lines.append(f"s{index};{index}.nii;{'FM'[index % 2]};{30 + 7 * (index % 5)},{index}")
    path = folder / "c.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def forget() -> None:
    """Composed values and the choices of conf/ are kept; here conf/ changes."""
    stfmri.study.compose.groups.cache_clear()
    stfmri.study.compose._hydras.cache_clear()


def composed(overrides: list[str], sweep: str, root: Path) -> Config:
    forget()
    return compose(overrides, sweep=sweep, root=root)


def test_the_file_says_where_the_cohort_is_what_its_class_is_and_starts_from_compare(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new.main([str(table), "--label", "sex", "--root", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    for part in ("24, of 24 patients", "F 12, M 12", "age (30 to 58.9", "a brain alone"):
        assert part in told
    found = composed([], "mine", tmp_path)
    base = composed([], "compare", tmp_path)
    assert found.data.table == str(table)
    assert (found.data.label, found.data.classes) == ("sex", ("F", "M"))
    assert found.data.covariates == ("age",)
    assert found.data.stripped
    assert (found.split.kind, found.split.n) == ("kfold", 5)
    assert found.sweep.name == found.data.name == "mine"
    assert found.train == base.train
    assert found.sweep.models == (base.sweep.models if here().fast else MODELS_ON_A_CPU)
    assert found.sweep.baselines == base.sweep.baselines
    forget()
    assert submit.main(["--sweep", "mine", "--dry-run", "--root", str(tmp_path)]) == 0


def test_a_folder_is_asked_for_with_its_layout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new.main([str(tmp_path), "--label", "sex"]) == 2
    said = capsys.readouterr().err
    assert f"found the folder {tmp_path};" in said
    assert f"data=bids data.folder={tmp_path} (layouts: " in said


def test_a_column_of_the_index_is_neither_taken_nor_proposed_as_the_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "c.csv"
    rows = [f"{n},{n}.nii,{'MF'[n % 2]},{'xy'[n % 2]}\n" for n in range(6)]
    table.write_text("subject_id,path,sex,source\n" + "".join(rows))
    for words in (["--label", "source"], []):
        assert new.main([str(table), *words, "--root", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert ("--label source: a column of that name cannot be the class" in said) == bool(words)
        assert "columns of few values: sex (" in said
        assert "source (" not in said


def test_settings_of_the_cohort_that_were_typed_stand(table: Path, tmp_path: Path) -> None:
    typed = ["data.covariates=[]", "data.missing=zeros", "data.name=shared", "data.classes=[M,F]"]
    assert new.main([str(table), "--label", "sex", *typed, "--root", str(tmp_path)]) == 0
    found = composed([], "mine", tmp_path).data
    assert (found.covariates, found.missing, found.name) == ((), "zeros", "shared")
    assert found.classes == ("M", "F")


def test_where_no_file_can_be_written_the_same_study_is_given_as_overrides(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(table), "--label", "sex", "--root", str(tmp_path)]
    assert new.main(arguments) == 0
    written = composed([], "mine", tmp_path)
    capsys.readouterr()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert new.main([*arguments, "--force"]) == 1
    lines = capsys.readouterr().out.splitlines()
    [line] = [line for line in lines if "launch/submit.py" in line]
    words = shlex.split(line, comments=True)
    assert words[words.index("--name") + 1] == "mine"
    overrides = [word for word in words if "=" in word and not word.startswith("/")]
    typed = composed(overrides, words[words.index("--sweep") + 1], tmp_path)
    differing = {
        key
        for key, value in flatten(typed).items()
        if value != flatten(written)[key] and key != "sweep.name"
    }
    assert differing == set()


def test_a_name_that_is_taken_is_refused_and_only_a_file_of_ours_is_replaced(
    table: Path, tmp_path: Path, conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(table), "--label", "sex", "--root", str(tmp_path)]
    assert new.main([*arguments, "--name", "demo", "--force"]) == 2
    assert "comes with stfmri" in capsys.readouterr().err
    file = conf / "sweep" / "mine.yaml"
    file.write_text(f"{MARK}, and edited since\n")
    assert new.main(arguments) == 2
    assert "--force" in capsys.readouterr().err
    assert new.main([*arguments, "--force"]) == 0
    assert "edited since" not in file.read_text()
    submitted = tmp_path / "runs" / "mine" / "sweep.yaml"
    submitted.parent.mkdir(parents=True)
    submitted.touch()
    assert new.main([*arguments, "--force"]) == 2
    assert "was submitted already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--label", "sexx"], "did you mean sex?"),
        ([], "columns of few values: sex (F 12, M 12)"),
        (["--label", "path"], "too many for classes"),
        (["--label", "subject_id"], "cannot be the class"),
        (["--label", "sex", "--name", "../x"], "--name must be letters"),
        (["--label", "sex", "train.epochs=2"], "only settings of data"),
        (["--label", "age", "--cut", "60", "40"], "rising numbers"),
        (["--label", "sex", "--cut", "40"], "must be a number, found 'F'"),
    ],
)
def test_a_wrong_call_gets_one_line_and_writes_nothing(
    table: Path,
    tmp_path: Path,
    conf: Path,
    arguments: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert new.main([str(table), *arguments, "--root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert not (conf / "sweep" / "mine.yaml").exists()


def test_numbers_are_no_classes_and_the_proposed_cut_makes_some(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--root", str(tmp_path)]
    assert new.main([str(table), "--label", "age", *root]) == 2
    error = capsys.readouterr().err
    command = error[error.index("python launch/new.py") : error.index(" →")]
    assert new.main([*shlex.split(command)[2:], *root]) == 0
    found = composed([], "mine", tmp_path)
    assert found.data.label == "age_group"
    assert found.data.classes == ("below_44", "from_44")
    # Age is what the class was cut from.
    assert found.data.covariates == ("sex",)
    copy = Path(str(found.data.table))
    assert copy.parent == table.parent
    assert table.read_text().startswith("subject_id;path;sex;age\n")


def test_classes_of_a_cut_cover_every_number_once() -> None:
    edges = [40.0, 60.5]
    assert class_names(edges) == ["below_40", "40_to_60.5", "from_60.5"]
    found = [class_of(number, edges) for number in (-1, 39.9, 40, 60.4, 60.5, 900)]
    assert Counter(found) == {"below_40": 2, "40_to_60.5": 2, "from_60.5": 2}


@pytest.mark.parametrize("seed", range(3))
def test_a_proposed_cut_gives_classes_of_about_one_size(seed: int) -> None:
    numbers = np.random.default_rng(seed).uniform(18, 90, 300).tolist()
    edges = proposed_edges(numbers)
    sizes = Counter(class_of(number, edges) for number in numbers)
    assert len(sizes) == 3
    assert min(sizes.values()) > 80


SOUND = Survey(
    listed=100,
    classes={"a": 50, "b": 50},
    subjects={"a": 50, "b": 50},
    sources={"x": Counter(a=25, b=25), "y": Counter(a=25, b=25)},
    by_source=0.0,
    columns=(Column("age", {}, (20.0, 50.0, 80.0), 0, 0.1),),
    contrasts={},
    masks=100,
    stripped=0,
    missing=(),
    faults={},
    shared=(),
    looked=(Looked(Path("a.nii"), (240, 240, 155), (1.0, 1.0, 1.0), 4.0),),
)
BRAIN = Looked(Path("b.nii"), (240, 240, 155), (1.0, 1.0, 1.0), 1.3)


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"classes": {"a": 50, "b": 9}}, "too few to learn from or to test on: b (9 patients)"),
        ({"classes": {"a": 95, "b": 15}}, "86 % of the patients are of one class"),
        ({"missing": (Path("/x/gone.nii"),)}, "1 file not found: /x/gone.nii"),
        ({"faults": {"s1": "no scan"}}, "1 subject cannot be used (s1: no scan)"),
        ({"shared": (Path("/x/a.nii"),)}, "stay on one side of every split"),
        (
            {"by_source": 0.9, "sources": {"x": Counter(a=50), "y": Counter(b=50)}},
            "the source decides the class of most subjects; x and y of one class alone",
        ),
        (
            {"columns": (Column("grade", {"1": 50, "2": 50}, (), 0, 1.0),)},
            "grade all but decides the class, so not taken as a covariate",
        ),
        ({"looked": (BRAIN, SOUND.looked[0]), "masks": 0}, "give the table a column stripped"),
        ({"looked": (replace(SOUND.looked[0], stripped=True),)}, "should hold a brain alone"),
        ({"looked": (replace(BRAIN, fault="damaged"),)}, "1 of the 1 scans read are damaged"),
        ({"looked": (replace(BRAIN, voxel_mm=(0.9, 0.9, 5.5)),)}, "slices of up to 5.5 mm"),
    ],
)
def test_what_would_spoil_a_study_is_warned_of(changes: dict[str, object], warning: str) -> None:
    data = DataConfig()
    assert cautions(SOUND, data) == []
    assert any(warning in line for line in cautions(replace(SOUND, **changes), data))  # type: ignore[arg-type]


def test_a_contrast_that_the_extractor_was_not_made_for_is_pointed_out() -> None:
    bare = replace(SOUND, masks=0)
    assert cautions(bare, DataConfig(contrasts=("T1w",))) == []
    [line] = cautions(bare, DataConfig(contrasts=("flair",)))
    assert "preprocessing.skullstrip=hdbet" in line


def test_settings_fit_the_cohort_and_the_machine() -> None:
    base = Config()
    slow = settings_for(SOUND, DataConfig(), base, LAPTOP)
    fast = settings_for(SOUND, DataConfig(), base, Place("1 GPU here", fast=True))
    assert (slow.preprocessing, fast.preprocessing) == ("mm4_tight", "mm2_tight")
    assert slow.repeats < fast.repeats
    many = replace(SOUND, classes={"a": 900, "b": 900})
    assert settings_for(many, DataConfig(), base, fast.machine).repeats == 1
    few = replace(SOUND, classes={"a": 50, "b": 3})
    assert settings_for(few, DataConfig(), base, LAPTOP).folds == 3


def test_slurm_that_does_not_answer_is_no_cluster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse() -> None:
        raise study_file.ClusterError("slurmctld does not answer")

    monkeypatch.setattr(study_file, "has_slurm", lambda: True)
    monkeypatch.setattr(study_file, "local_gpus", lambda: [])
    monkeypatch.setattr(study_file, "alive", refuse)
    place = study_file.here()
    assert (place.fast, place.cluster) == (False, "local")
    settings = settings_for(SOUND, DataConfig(), Config(), place)
    text = sweep_text("x", SOUND, DataConfig(table=str(tmp_path)), settings, "2026-01-01")
    assert "override /cluster: local" in text
    monkeypatch.setattr(study_file, "alive", dict)
    assert study_file.here().fast
