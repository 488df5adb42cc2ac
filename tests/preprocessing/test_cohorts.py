"""What holds for every layout: the registry, required keys, exclusions, labels from a table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from preprocessing.cohorts import LAYOUTS, find_scans
from stfmri.study.compose import CONF, PATH_KEYS, compose
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import ConfigError, UserError
from tests.preprocessing.layouts import brats2019, case, ixi, write

CASES = ["BraTS19_CBICA_AAB_1", "BraTS19_TCIA09_620_1", "BraTS19_2013_0_1"]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_every_layout_has_a_commented_choice_of_its_name(layout) -> None:
    path = CONF / "data" / f"{layout.name}.yaml"
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["kind"] == layout.name
    assert path.read_text(encoding="utf-8").startswith("# ")
    data = compose([f"data={layout.name}"]).data
    for key in layout.keys:
        assert hasattr(data, key.name)
        assert f"data.{key.name}" in PATH_KEYS


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_a_layout_names_the_first_key_it_lacks_and_what_to_type(layout) -> None:
    key = layout.keys[0]
    said = f"data={layout.name} needs data.{key.name}={key.value}"
    with pytest.raises(ConfigError, match=said):
        find_scans(DataConfig(kind=layout.name))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_a_folder_that_is_not_there_is_named(layout, tmp_path: Path) -> None:
    given = {key.name: str(tmp_path / "none") for key in layout.keys}
    with pytest.raises(UserError, match=r"there is no (folder|file) .*none"):
        find_scans(DataConfig(kind=layout.name, **given))


def test_an_unknown_layout_gets_the_list_and_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"table, bids, .*; found 'brats219'; did you mean brats2019"
    ):
        find_scans(DataConfig(kind="brats219"))


def test_finding_scans_needs_neither_torch_nor_a_spreadsheet_library(tmp_path: Path) -> None:
    for name in ("torch", "openpyxl", "nibabel"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")
    done = subprocess.run(
        [sys.executable, "-c", "import preprocessing.cohorts"],
        cwd=CONF.parent,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def excluding(tmp_path: Path, text: str, **settings: object) -> DataConfig:
    folder = tmp_path / "b"
    if not folder.is_dir():
        brats2019(folder, HGG=CASES[:2], LGG=CASES[2:])
    path = write(tmp_path / "exclude.csv", text)
    return DataConfig(kind="brats2019", folder=str(folder), exclude=path, **settings)  # type: ignore[arg-type]


def test_subjects_left_out_keep_the_reason_and_stay_listed(tmp_path: Path) -> None:
    text = f'subject_id;reason\n{CASES[0]};"moved;\ntwice"\n{CASES[2]};\n'
    found = {scan.subject_id: scan for scan in find_scans(excluding(tmp_path, text))}
    assert {name: scan.fault for name, scan in found.items()} == {
        CASES[0]: "left out: moved; twice",
        CASES[1]: "",
        CASES[2]: "left out: no reason given",
    }
    assert {name: scan.excluded for name, scan in found.items()} == dict(
        zip(CASES, (True, False, True), strict=True)
    )


def test_subjects_left_out_may_be_those_of_a_class_that_is_not_wanted(tmp_path: Path) -> None:
    text = "subject_id,path,label\na,b,x\nc,d,y\n"
    data = DataConfig(
        kind="table",
        table=write(tmp_path / "t.csv", text),
        exclude=write(tmp_path / "e.csv", "subject_id\nc\n"),
        classes=("x",),
    )
    assert [scan.excluded for scan in find_scans(data)] == [False, True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("subject_id\nBraTS19_X_1_1\n", r"does not have: BraTS19_X_1_1; correct or remove"),
        ("subject,reason\na,b\n", "lacks the column subject_id"),
        ("", "lacks the column subject_id"),
    ],
)
def test_a_file_of_exclusions_that_does_not_fit_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        find_scans(excluding(tmp_path, text))


def test_a_missing_file_of_exclusions_is_named(tmp_path: Path) -> None:
    data = excluding(tmp_path, "subject_id\n")
    (tmp_path / "exclude.csv").unlink()
    with pytest.raises(UserError, match=r"data.exclude: there is no file .*exclude.csv"):
        find_scans(data)


def labelled(tmp_path: Path, text: str, **settings: object) -> DataConfig:
    folder = tmp_path / "cases"
    for number in range(3):
        case(folder, f"BraTS2021_0000{number}")
    path = write(tmp_path / "labels.csv", text)
    return DataConfig(kind="brats2021", folder=str(folder), table=path, **settings)  # type: ignore[arg-type]


def test_labels_are_joined_by_subject_and_gaps_are_faults(tmp_path: Path) -> None:
    text = (
        "case;age;mgmt;source\nBraTS2021_00000;61,5;yes;UCSF\nBraTS2021_00002;50;NA;\nother;1;no;\n"
    )
    first, second, third = find_scans(labelled(tmp_path, text, label="mgmt"))
    assert (first.label, first.source, first.fault) == ("yes", "UCSF", "")
    assert (first.columns["age"], first.columns["mgmt"]) == ("61,5", "yes")
    assert first.columns["path"] == str(first.path)
    assert (second.label, second.fault) == ("", "not listed in labels.csv")
    assert (third.label, third.source, third.fault) == ("", "BraTS2021", "labels.csv gives no mgmt")


def test_the_key_is_subject_id_wherever_it_is_else_the_first_column(tmp_path: Path) -> None:
    cases = [("x", "BraTS2021_00000"), ("y", "BraTS2021_00001"), ("x", "BraTS2021_00002")]
    last = "\n".join(["label,subject_id", *(f"{label},{case}" for label, case in cases)])
    first = "\n".join(["case,label", *(f"{case},{label}" for label, case in cases)])
    # The row numbers that pandas writes are a column without a name.
    numbered = "\n".join([",case,label", *(f"7,{case},{label}" for label, case in cases)])
    for text in (last, first, numbered):
        assert [scan.label for scan in find_scans(labelled(tmp_path, text))] == ["x", "y", "x"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("case,label\n0,x\n1,y\n", r"column case must hold .*BraTS2021_00000; .*none of the 3.* 0"),
        ("case,grade\nBraTS2021_00000,x\n", "lacks the column label .*data.label names"),
        ("case,label\nBraTS2021_00000,x\nBraTS2021_00000,y\n", "line 3 .* is in line 2"),
        ("case,label\n,x\n", "line 2 .*: the field case is empty"),
    ],
)
def test_a_table_of_labels_that_does_not_fit_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        find_scans(labelled(tmp_path, text))


def test_a_table_may_give_a_layout_other_classes_than_its_own(tmp_path: Path) -> None:
    folder = ixi(tmp_path / "i", "IXI012-HH-1211-T1.nii.gz", "IXI013-HH-1212-T1.nii.gz")
    table = write(tmp_path / "t.csv", "IXI_ID,group\nIXI012,old\nIXI013,young\n")
    data = DataConfig(kind="ixi", folder=str(folder), table=table, label="group")
    assert [scan.label for scan in find_scans(data)] == ["old", "young"]


def test_a_scan_whose_name_breaks_lines_is_refused(tmp_path: Path) -> None:
    folder = brats2019(tmp_path / "b", HGG=["BraTS19_TMC_1_1", "BraTS19_TMC_2\n_1"])
    with pytest.raises(UserError, match=r"BraTS19_TMC_2\\n_1.* holds line breaks"):
        find_scans(DataConfig(kind="brats2019", folder=str(folder), classes=("HGG",)))


def test_channels_are_the_contrasts_or_the_one_scan() -> None:
    assert DataConfig().channels == ("scan",)
    assert DataConfig(contrasts=("flair", "t1ce")).channels == ("flair", "t1ce")
