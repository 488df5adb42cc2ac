from __future__ import annotations

from pathlib import Path

import pytest

from preprocessing.cohorts import find_ixi, find_scans
from stfmri.study.config import DataConfig
from stfmri.study.errors import UserError


def brats(folder: Path, **cases: list[str]) -> Path:
    for grade in ("HGG", "LGG"):
        (folder / grade).mkdir(parents=True)
        for case in cases.get(grade, []):
            (folder / grade / case).mkdir()
            (folder / grade / case / f"{case}_t1ce.nii.gz").touch()
            (folder / grade / case / f"{case}_flair.nii.gz").touch()
    return folder


def ixi(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    return folder


def table(folder: Path, text: str, **settings: object) -> DataConfig:
    path = folder / "cohort.csv"
    path.write_text(text, encoding="utf-8")
    return DataConfig(kind="table", table=str(path), **settings)  # type: ignore[arg-type]


def test_brats_and_ixi_names_give_label_patient_and_source(tmp_path: Path) -> None:
    folder = brats(
        tmp_path / "b",
        HGG=["BraTS19_CBICA_AAB_1"],
        LGG=["BraTS19_TCIA09_620_1", "BraTS19_2013_0_1"],
    )
    data = DataConfig(
        kind="brats_ixi",
        brats=str(folder),
        ixi=str(ixi(tmp_path / "i", "IXI012-HH-1211-T1.nii.gz", "IXI012-HH-1211-T2.nii.gz")),
        ixi_count=0,
        label="grade",
    )
    found = {scan.subject_id: scan for scan in find_scans(data)}
    assert sorted(found) == [
        "BraTS19_2013_0_1",
        "BraTS19_CBICA_AAB_1",
        "BraTS19_TCIA09_620_1",
        "IXI012-HH-1211",
    ]
    tumour, healthy = found["BraTS19_TCIA09_620_1"], found["IXI012-HH-1211"]
    assert (tumour.label, tumour.patient_id, tumour.source, tumour.stripped) == (
        "LGG",
        "BraTS19_TCIA09_620",
        "BraTS-TCIA09",
        True,
    )
    assert (healthy.label, healthy.patient_id, healthy.source, healthy.stripped) == (
        "Healthy",
        "IXI012",
        "IXI-HH",
        False,
    )
    assert healthy.columns["grade"] == "Healthy"
    assert tumour.path.name == "BraTS19_TCIA09_620_1_t1ce.nii.gz"


def test_uncompressed_files_count_and_a_case_without_its_scan_is_not_forgotten(
    tmp_path: Path,
) -> None:
    folder = brats(tmp_path / "b", LGG=["BraTS19_2013_0_1"])
    for name in ("BraTS19_2013_1_1", "BraTS19_2013_2_1"):
        (folder / "LGG" / name).mkdir()
    (folder / "LGG" / "BraTS19_2013_1_1" / "BraTS19_2013_1_1_t1ce.nii").touch()
    scans = find_scans(DataConfig(kind="brats_ixi", brats=str(folder), classes=("LGG",)))
    assert [scan.path.is_file() for scan in scans] == [True, True, False]


def test_the_ixi_draw_depends_on_its_seed_alone(tmp_path: Path) -> None:
    names = [f"IXI{number:03d}-HH-{number}-T1.nii.gz" for number in range(40)]
    first = ixi(tmp_path / "a", *names)
    second = ixi(tmp_path / "b", *reversed(names))

    def drawn(folder: Path, seed: int) -> list[str]:
        return [scan.subject_id for scan in find_ixi(folder, "label", 10, seed)]

    assert drawn(first, 0) == drawn(second, 0)
    assert len(set(drawn(first, 0))) == 10
    assert drawn(first, 0) != drawn(first, 1)


def test_phantom_folders_hold_both_cohorts(tmp_path: Path) -> None:
    brats(tmp_path / "MICCAI_BraTS_2019_Data_Training", HGG=["BraTS19_2013_0_1"])
    ixi(tmp_path / "IXI-T1", "IXI002-Guys-0828-T1.nii.gz")
    scans = find_scans(DataConfig(kind="phantom", folder=str(tmp_path)))
    assert [scan.label for scan in scans] == ["HGG", "Healthy"]


def test_a_table_may_start_with_a_byte_order_mark_and_name_umlauts(tmp_path: Path) -> None:
    text = (
        "\ufeffsubject_id,path,diagnose,stripped,mask,age\nMüller/1,Köpfe/m 1.nii,krank,true,,40\n"
    )
    scan = find_scans(table(tmp_path, text, label="diagnose"))[0]
    assert scan.path == tmp_path / "Köpfe" / "m 1.nii"
    assert (scan.subject_id, scan.patient_id, scan.source) == ("Müller/1", "Müller/1", "cohort")
    assert scan.stripped
    assert scan.mask is None
    assert scan.columns["age"] == "40"
    assert scan.columns["diagnose"] == "krank"


def test_spaces_and_empty_rows_of_a_spreadsheet_do_not_matter(tmp_path: Path) -> None:
    text = "subject_id, path, label\na, x/a.nii, l\n,,\n\n,,\n"
    scans = find_scans(table(tmp_path, text))
    assert [(scan.subject_id, scan.label) for scan in scans] == [("a", "l")]
    assert scans[0].path == tmp_path / "x" / "a.nii"


def test_a_table_may_name_mask_patient_and_source(tmp_path: Path) -> None:
    text = "subject_id,path,label,mask,patient_id,source\na,/x/a.nii,l,m/a.nii,p,here\n"
    scan = find_scans(table(tmp_path, text, stripped=True))[0]
    assert scan.path == Path("/x/a.nii")
    assert scan.mask == tmp_path / "m" / "a.nii"
    assert (scan.patient_id, scan.source, scan.stripped) == ("p", "here", True)


@pytest.mark.parametrize(
    ("text", "settings", "said"),
    [
        ("", {}, "lacks the columns subject_id, path, label"),
        ("subject_id,path,label\n", {}, "lists no scans"),
        ("subject_id;path;label\na;b;c\n", {}, "separated by commas"),
        ("subject_id\tpath\tlabel\na\tb\tc\n", {}, "separated by commas"),
        ("subject_id,path,label\na,b,c\n", {"label": "sex"}, "lacks the column sex"),
        ("subject_id,path,label\na,b,c\na,d,c\n", {}, "line 2 .* and line 3"),
        ("subject_id,path,label\na,b,\n", {}, "line 2 .*: the field label is empty"),
        ("subject_id,path,label\na,b\n", {}, "line 2 .* fields"),
        ("subject_id,path,label\na,b,c,d\n", {}, "line 2 .* fields"),
        ("subject_id,path,label,stripped\na,b,c,maybe\n", {}, "must be true or false"),
        ("subject_id,path,label,row\na,b,c,1\n", {}, "rename row"),
        ("subject_id,path,label\na,b,c\na2,b,d\n", {"classes": ("c",)}, "does not name: d"),
        ("subject_id,path,label\na,b,c\n", {"classes": ("c", "d")}, "names d, but no scan"),
        ("subject_id,path,label\na,b,c\n", {"label": "source"}, "cache's own index"),
        ("subject_id,path,label\na,~nobody-here/b,c\n", {}, "no home folder"),
        ("subject_id,path,age (years)\na,b,c\n", {"label": "age (years)"}, "split file's name"),
        ("subject_id,path,../label\na,b,c\n", {"label": "../label"}, "split file's name"),
        ('subject_id,path,label\na,b,c\n"d\ne",f,c\n', {}, r"line 4 .*'d\\ne' holds line breaks"),
        ("subject_id,path,label\na,b,c\0\n", {}, r"line 2 .*c\\x00' holds"),
        ('subject_id,path,label,source\na,b,c,"x\ry"\n', {}, r"'x\\ry' holds"),
        ('subject_id,path,label,patient_id\na,b,c,"x\u2028y"\n', {}, r"'x\\u2028y' holds"),
        ('subject_id,path,label,"no\nte"\na,b,c,d\n', {}, r"the header .*'no\\nte' holds"),
    ],
)
def test_a_broken_table_gets_one_line_that_says_where(
    tmp_path: Path, text: str, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        find_scans(table(tmp_path, text, **settings))
    assert "\n" not in str(caught.value)


def test_notes_over_several_lines_are_carried_along_in_one(tmp_path: Path) -> None:
    text = 'subject_id,path,label,note\na,b,c,"first\r\nsecond\tthird"\n'
    [scan] = find_scans(table(tmp_path, text))
    assert scan.columns["note"] == "first  second third"


def test_a_scan_whose_name_breaks_lines_is_refused(tmp_path: Path) -> None:
    folder = brats(tmp_path / "b", HGG=["BraTS19_TMC_1_1", "BraTS19_TMC_2\n_1"])
    with pytest.raises(UserError, match=r"BraTS19_TMC_2\\n_1.* holds line breaks"):
        find_scans(DataConfig(kind="brats_ixi", brats=str(folder), classes=("HGG",)))


def test_what_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    folder = brats(tmp_path / "b", HGG=["BraTS19_2013_0_1"])
    few = ixi(tmp_path / "i", "IXI002-Guys-0828-T1.nii.gz")
    cases = {
        r"data.table=FILE": DataConfig(kind="table"),
        r"there is no file": DataConfig(kind="table", table=str(tmp_path / "none.csv")),
        r"data.brats=DIR": DataConfig(kind="brats_ixi"),
        r"data.ixi=DIR": DataConfig(kind="brats_ixi", brats=str(folder)),
        r"holds HGG and LGG": DataConfig(kind="brats_ixi", brats=str(few), ixi=str(few)),
        r"data.ixi_count=0 takes all": DataConfig(
            kind="brats_ixi", brats=str(folder), ixi=str(few)
        ),
        r"no case folders": DataConfig(
            kind="brats_ixi", brats=str(brats(tmp_path / "e")), classes=("HGG",)
        ),
        r"BraTS and IXI hold": DataConfig(kind="brats_ixi", classes=("LGG", "GBM")),
        r"data.folder=DIR": DataConfig(kind="phantom"),
        r"make the phantoms first": DataConfig(kind="phantom", folder=str(tmp_path / "none")),
    }
    for said, data in cases.items():
        with pytest.raises(UserError, match=said):
            find_scans(data)
