"""What a look at a cohort finds before anything is preprocessed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from preprocessing.cohorts.survey import survey
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import UserError
from tests.preprocessing.conftest import brain_values, write_scan
from tests.preprocessing.layouts import bids, write


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stripped brain, and the same in a head that fills the field."""
    folder = tmp_path_factory.mktemp("scans")
    brain = brain_values(0)
    write_scan(folder / "brain.nii.gz", brain)
    noise = np.random.default_rng(1).integers(20, 300, brain.shape)
    write_scan(folder / "head.nii.gz", np.where(brain > 0, brain, noise).astype(np.int16))
    return folder


def cohort(folder: Path, scans: Path, rows: list[str], header: str = "") -> DataConfig:
    for index in range(len(rows)):
        shutil.copy(scans / "head.nii.gz", folder / f"{index}.nii.gz")
    lines = [header or "subject_id,path,label,patient_id,source,age"]
    lines += [f"s{index},{index}.nii.gz,{row}" for index, row in enumerate(rows)]
    return DataConfig(table=write(folder / "c.csv", "\n".join(lines) + "\n"))


def test_classes_patients_sources_and_columns_are_counted(tmp_path: Path, scans: Path) -> None:
    rows = [
        f"{'old' if index % 2 else 'young'},p{index // 2 * 2 + index % 2},"
        f"{'A' if index < 10 else 'B'},{70 if index % 2 else 30}.{index}"
        for index in range(16)
    ]
    rows += ["young,p0,A,31.5"]  # a second scan of the first patient
    found = survey(cohort(tmp_path, scans, rows))
    assert found.listed == found.usable == 17
    assert found.classes == {"young": 8, "old": 8}
    assert list(found.classes) == ["young", "old"]  # by age, of which the class was cut
    assert found.subjects == {"young": 9, "old": 8}
    assert {name: sum(counts.values()) for name, counts in found.sources.items()} == {
        "A": 11,
        "B": 6,
    }
    assert [column.name for column in found.columns] == ["age"]
    assert found.columns[0].is_copy
    assert found.by_source < 0.5
    assert not found.contrasts
    assert not found.missing


def test_scans_that_show_a_brain_alone_are_told_from_heads(tmp_path: Path, scans: Path) -> None:
    data = cohort(tmp_path, scans, [f"{'ab'[index % 2]},,," for index in range(6)])
    heads = survey(data).looked
    assert not any(scan.looks_stripped for scan in heads)
    assert {scan.voxel_mm for scan in heads} == {(4.0, 4.0, 4.0)}
    assert {scan.shape for scan in heads} == {(44, 52, 44)}
    for index in range(6):
        shutil.copy(scans / "brain.nii.gz", tmp_path / f"{index}.nii.gz")
    brains = survey(data).looked
    assert all(scan.looks_stripped for scan in brains)
    # An ellipsoid of 65, 85 and 60 mm.
    assert brains[0].litres == pytest.approx(4 / 3 * np.pi * 0.65 * 0.85 * 0.60, rel=0.05)


def test_files_that_are_missing_damaged_or_shared_are_found(tmp_path: Path, scans: Path) -> None:
    data = cohort(tmp_path, scans, [f"{'ab'[index % 2]},,," for index in range(8)])
    (tmp_path / "3.nii.gz").unlink()
    (tmp_path / "0.nii.gz").write_bytes(b"no scan")
    table = Path(str(data.table))
    table.write_text(table.read_text().replace("s5,5.nii.gz", "s5,4.nii.gz"))
    found = survey(data)
    assert found.missing == (tmp_path / "3.nii.gz",)
    assert found.usable == 7
    assert found.shared == (tmp_path / "4.nii.gz",)
    assert found.looked[0].fault == "not a NIfTI file (.nii or .nii.gz)"


def test_contrasts_are_counted_by_subject(tmp_path: Path) -> None:
    header = "subject_id,path_t1,path_flair,label"
    rows = [f"s{index},a{index}.nii,{'' if index else 'f.nii'},x" for index in range(4)]
    table = write(tmp_path / "c.csv", "\n".join([header, *rows]) + "\n")
    for index in range(4):
        write_scan(tmp_path / f"a{index}.nii", brain_values(index))
    found = survey(DataConfig(table=table, contrasts=("t1",)))
    assert found.contrasts == {"t1": 4, "flair": 1}
    names = [f"sub-{index}_{kind}.nii" for index in range(3) for kind in ("T1w", "FLAIR")]
    people = "participant_id\tgroup\n" + "".join(f"sub-{index}\tx\n" for index in range(3))
    folder = bids(tmp_path / "bids", *names, participants=people)
    layout = survey(DataConfig(kind="bids", folder=str(folder), label="group"))
    assert layout.contrasts == {"t1": 3, "flair": 3}


def test_a_cohort_without_a_single_scan_is_refused(tmp_path: Path) -> None:
    table = write(tmp_path / "c.csv", "subject_id,path,label\na,gone.nii,x\nb,gone2.nii,y\n")
    with pytest.raises(UserError, match=r"none of the 2 subjects .*gone.nii"):
        survey(DataConfig(table=table))
