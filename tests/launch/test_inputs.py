"""What a sweep needs before it may start, for every layout of a cohort."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from launch.inputs import missing
from launch.plan import open_sweep
from launch.volumes import check_table
from preprocessing.cohorts import LAYOUTS, find_scans
from preprocessing.command import preprocessing_command
from stfmri.study.compose import compose
from stfmri.study.config import Config
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.rejected import Rejected, write_rejected
from stfmri.study.shards import IndexRow, read_index, write_index


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_the_command_that_builds_a_cohort_names_what_is_not_given(layout) -> None:
    lacking = [
        key
        for key in layout.keys
        if getattr(compose([f"data={layout.name}"]).data, key.name) is None
    ]
    words = [f"data={layout.name}", *(f"data.{key.name}={key.value}" for key in lacking)]
    command = preprocessing_command(compose([f"data={layout.name}"]))
    assert command == " ".join(["python", "-m", "preprocessing", *words])


def test_the_command_keeps_what_was_given(tmp_path: Path) -> None:
    given = ["data=bids", f"data.folder={tmp_path}", "data.contrasts=[t1,flair]"]
    command = preprocessing_command(compose(given))
    assert command == f"python -m preprocessing data=bids 'data.contrasts=[t1,flair]' {given[1]}"
    with pytest.raises(ConfigError, match=r"data.kind must be one of .* did you mean bids"):
        preprocessing_command(compose(["data.kind=bidds"]))


@pytest.mark.parametrize(
    "classes", [("low grade", "high, grade"), ("1e5", "it's"), ("true", "a.b+c"), ("a\\b", "[c]")]
)
def test_the_command_means_the_same_classes(classes: tuple[str, ...]) -> None:
    config = compose(["data=table"])
    config = replace(config, data=replace(config.data, classes=classes))
    words = shlex.split(preprocessing_command(config))[3:]
    assert compose(words).data.classes == classes


def test_the_command_is_the_sweeps_own_where_its_file_says_everything(tmp_path: Path) -> None:
    config = compose([], sweep="demo", root=tmp_path)
    own = f"python -m preprocessing --sweep demo --root {tmp_path}"
    assert preprocessing_command(config, "demo") == own
    finer = replace(config, preprocessing=replace(config.preprocessing, spacing_mm=5.0))
    assert "--sweep" not in preprocessing_command(finer, "demo")
    assert "--sweep" not in preprocessing_command(compose(["data=table"]), "full")


def test_a_label_that_is_no_column_of_the_table_is_said_before_anything_is_preprocessed(
    tmp_path: Path,
) -> None:
    table = tmp_path / "cohort.csv"
    table.write_text("subject_id,path,sex\na,a.nii,x\nb,b.nii,y\n")
    typed = ["data=table", f"data.table={table}", "data.label=sexx", "data.name=new"]
    [said] = missing(open_sweep("demo", None, tmp_path, typed).sweep)
    assert f"{table} lacks the column sexx (found: subject_id, path, sex)" in said


@pytest.fixture
def indexed(tmp_path: Path) -> Config:
    """A table of three subjects, indexed as it stands."""
    table = tmp_path / "cohort.csv"
    table.write_text("subject_id,path,label\na,a.nii,x\nb,b.nii,y\nc,c.nii,y\n")
    config = compose(["data=table", f"data.table={table}"], root=tmp_path)
    rows = [
        IndexRow(s.subject_id, s.patient_id, s.source, "shard-0000.h5", n, "k", "h", s.columns)
        for n, s in enumerate(find_scans(config.data))
    ]
    write_index(config.cache, rows)
    return config


def test_a_label_changed_since_preprocessing_is_refused_with_the_way_out(indexed: Config) -> None:
    check_table(indexed)
    table = Path(indexed.data.table or "")
    table.write_text(table.read_text().replace("b.nii,y", "b.nii,x"))
    with pytest.raises(UserError, match=r"label of b is x there, y in .*python -m preprocessing"):
        check_table(indexed)


def test_a_subject_left_out_on_one_side_alone_is_refused(indexed: Config, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("subject_id,reason\nc,moved\n")
    data = replace(indexed.data, exclude=str(tmp_path / "out.csv"))
    with pytest.raises(UserError, match=r"1 subject in .* \(c\)"):
        check_table(replace(indexed, data=data))
    write_index(indexed.cache, read_index(indexed.cache)[:2])
    write_rejected(indexed.cache, [Rejected("c", "c.nii", "left out: moved")])
    check_table(replace(indexed, data=data))
    with pytest.raises(
        UserError, match=r"1 subject .* left out .*\(c\): say data.exclude=FILE here"
    ):
        check_table(indexed)
