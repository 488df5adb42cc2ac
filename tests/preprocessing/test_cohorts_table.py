"""Cohorts given as a table: separators, XLSX, contrasts, and what is said of a broken one."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import openpyxl
import pytest

from preprocessing.cohorts import find_scans
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import ConfigError, UserError


def table(folder: Path, text: str, name: str = "cohort.csv", **settings: object) -> DataConfig:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return DataConfig(kind="table", table=str(path), **settings)  # type: ignore[arg-type]


def workbook(path: Path, *rows: tuple[object, ...]) -> DataConfig:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return DataConfig(kind="table", table=str(path))


ROWS = [
    ["subject_id", "path", "label", "age", "note"],
    ["s1", "a/1.nii", "x", "40,5", "shaky, twice"],
    ["s2", "a/2.nii", "y", "7", "12:30; late"],
]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_any_separator_gives_the_same_scans(tmp_path: Path, mark: str) -> None:
    quoted = [[f'"{cell}"' if mark in cell else cell for cell in row] for row in ROWS]
    text = "\r\n".join(mark.join(row) for row in quoted)
    scans = find_scans(table(tmp_path, text))
    assert [scan.columns["age"] for scan in scans] == ["40,5", "7"]
    assert [scan.columns["note"] for scan in scans] == ["shaky, twice", "12:30; late"]
    assert [scan.path for scan in scans] == [tmp_path / "a/1.nii", tmp_path / "a/2.nii"]


def test_a_name_with_a_comma_in_the_header_does_not_confuse_the_separator(tmp_path: Path) -> None:
    text = 'subject_id;path;label;"age, years";dose (mg, oral)\ns1;a.nii;x;40,5;1,5\n'
    [scan] = find_scans(table(tmp_path, text))
    assert (scan.columns["age, years"], scan.columns["dose (mg, oral)"]) == ("40,5", "1,5")


def test_a_workbook_reads_as_its_table_in_text(tmp_path: Path) -> None:
    data = workbook(
        tmp_path / "cohort.xlsx",
        ("subject_id", "path", "label", "stripped", "age", "born", "fold", None),
        (101, "a/1.nii", "x", True, 40.0, datetime.datetime(1980, 5, 1), 0),
        ("s2", "a/2.nii", "y", False, 7.25, None, None),
        (None, None, None, None, None, None, None),
    )
    first, second = find_scans(data)
    assert (first.subject_id, first.stripped, second.stripped) == ("101", True, False)
    assert (first.columns["age"], second.columns["age"]) == ("40", "7.25")
    assert (first.columns["born"], first.columns["fold"]) == ("1980-05-01", "0")
    assert (second.columns["born"], second.columns["fold"]) == ("", "")
    assert first.path == tmp_path / "a" / "1.nii"


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
    text = "subject_id, path, label,,\na, x/a.nii, l,,\n,,,,\n\n,,,,\n"
    scans = find_scans(table(tmp_path, text))
    assert [(scan.subject_id, scan.label) for scan in scans] == [("a", "l")]
    assert scans[0].path == tmp_path / "x" / "a.nii"


def test_a_table_may_name_mask_patient_and_source(tmp_path: Path) -> None:
    text = "subject_id,path,label,mask,patient_id,source\na,/x/a.nii,l,m/a.nii,p,here\n"
    scan = find_scans(table(tmp_path, text, stripped=True))[0]
    assert scan.path == Path("/x/a.nii")
    assert scan.mask == tmp_path / "m" / "a.nii"
    assert (scan.patient_id, scan.source, scan.stripped) == ("p", "here", True)


TWO = "subject_id,path_t1ce,path_flair,label,split\na,a1.nii,a2.nii,x,train\nb,,b2.nii,y,test\n"


def test_contrasts_are_columns_chosen_and_ordered_by_the_configuration(tmp_path: Path) -> None:
    first, second = find_scans(table(tmp_path, TWO, contrasts=("flair", "t1ce")))
    assert list(first.paths.items()) == [
        ("flair", tmp_path / "a2.nii"),
        ("t1ce", tmp_path / "a1.nii"),
    ]
    assert list(second.paths) == ["flair"]
    assert (first.columns["split"], second.columns["split"]) == ("train", "test")
    assert not second.fault


def test_a_subject_without_any_file_is_listed_with_its_line(tmp_path: Path) -> None:
    for text, contrasts in ((TWO, ("t1ce",)), ("subject_id,path,label\na,x,l\nb,,m\n", ())):
        first, second = find_scans(table(tmp_path, text, contrasts=contrasts))
        assert not first.fault
        assert second.fault.startswith("line 3 of ")
        assert second.fault.endswith("is empty")


def test_one_contrast_needs_no_choice_and_several_ask_for_one(tmp_path: Path) -> None:
    one = "subject_id,path_t2,label\na,a2.nii,x\n"
    assert find_scans(table(tmp_path, one))[0].paths == {"scan": tmp_path / "a2.nii"}
    plain = "subject_id,path,label\na,a2.nii,x\n"
    named = find_scans(table(tmp_path, plain, contrasts=("t2",)))[0]
    assert named.paths == {"t2": tmp_path / "a2.nii"}
    with pytest.raises(UserError, match=r"t1ce, flair; .* data.contrasts=\[t1ce,flair\]"):
        find_scans(table(tmp_path, TWO))
    with pytest.raises(ConfigError, match=r"no column path_t2; it holds t1ce, flair"):
        find_scans(table(tmp_path, TWO, contrasts=("t1ce", "t2")))
    with pytest.raises(ConfigError, match="it holds one contrast, in the column path"):
        find_scans(table(tmp_path, plain, contrasts=("t1", "t2")))


@pytest.mark.parametrize(
    ("text", "settings", "said"),
    [
        ("", {}, "lacks the columns subject_id, path, label"),
        ("subject_id,path,label\n", {}, "lists no scans"),
        ("subject_id:path:label\na:b:c\n", {}, "separated by commas, tabs or semicolons"),
        ("subject_id,path,label\na,b,c\n", {"label": "sex"}, "lacks the column sex"),
        ("subject_id,path,label\na,b,c\na,d,c\n", {}, "line 2 .* and line 3"),
        ("subject_id,path,label\na,b,\n", {}, "line 2 .*: the field label is empty"),
        ("subject_id,path,label\na,b\n", {}, "line 2 .* fields"),
        ("subject_id;path;label\na;b;c;d\n", {}, "line 2 .* fields"),
        ("subject_id,path,label,stripped\na,b,c,maybe\n", {}, "must be true or false"),
        ("subject_id,path,label,row\na,b,c,1\n", {}, "rename row"),
        ("subject_id,path,label,path\na,b,c,1\n", {}, "rename path"),
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


def test_what_is_no_table_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "latin.csv").write_bytes("subject_id,path,label\nMüller,b,c\n".encode("latin-1"))
    (tmp_path / "false.xlsx").write_text("subject_id,path,label\n")
    (tmp_path / "old.xls").touch()
    workbook(tmp_path / "cut.xlsx", *map(tuple, ROWS))
    (tmp_path / "cut.xlsx").write_bytes((tmp_path / "cut.xlsx").read_bytes()[:-400])
    cases = {
        "pipe.csv": "found a pipe",
        "folder.csv": "found a folder",
        "latin.csv": "save it as UTF-8",
        "false.xlsx": "save it again as XLSX",
        "cut.xlsx": "save it again as XLSX",
        "old.xls": "CSV, TSV or XLSX",
        "none.csv": "there is no file",
    }
    for name, said in cases.items():
        with pytest.raises(UserError, match=said) as caught:
            find_scans(DataConfig(kind="table", table=str(tmp_path / name)))
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_notes_over_several_lines_are_carried_along_in_one(tmp_path: Path) -> None:
    text = 'subject_id,path,label,note\na,b,c,"first\r\nsecond\tthird"\n'
    [scan] = find_scans(table(tmp_path, text))
    assert scan.columns["note"] == "first  second third"
