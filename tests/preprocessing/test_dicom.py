"""From DICOM folders to NIfTI scans and a cohort table, without identifying fields."""

from __future__ import annotations

import contextlib
import csv
import gzip
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from preprocessing.cohorts import find_scans
from preprocessing.dicom.__main__ import main
from stfmri.study.config.data import DataConfig
from tests.preprocessing.dicom_export import (
    SECONDARY_CAPTURE,
    oblique_affine,
    ramp,
    write_enhanced,
    write_series,
)

AXIAL = np.diag([0.9, 0.9, 3.0, 1.0])
SAGITTAL = np.array([[0, 0, 1.2, -60], [1, 0, 0, -70], [0, -1, 0, 80], [0, 0, 0, 1]], float)
FLAIR = {
    "SeriesDescription": "t2_tirm_tra_dark-fluid",
    "ScanningSequence": ["SE", "IR"],
    "RepetitionTime": 9000,
    "EchoTime": 90,
    "InversionTime": 2500,
    "SeriesNumber": 5,
}


def convert(folder: Path, out: Path, *options: str) -> int:
    return main(["--in", str(folder), "--out", str(out), "--jobs", "1", *options])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def values_at(path: Path, points: NDArray[np.float64]) -> NDArray[np.generic]:
    """The scan's values at points in RAS mm, which must be voxels' middles."""
    image = nib.load(path)
    voxels = nib.affines.apply_affine(np.linalg.inv(image.affine), points)
    np.testing.assert_allclose(voxels, voxels.round(), atol=2e-3)
    return np.asarray(image.dataobj)[tuple(voxels.round().astype(int).T)]


@pytest.mark.parametrize(
    "affine", [AXIAL, SAGITTAL, oblique_affine()], ids=["axial", "sagittal", "oblique"]
)
@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_every_voxel_keeps_its_value_and_its_place(
    tmp_path: Path, affine: NDArray[np.float64], enhanced: bool
) -> None:
    voxels = ramp()
    if enhanced:
        write_enhanced(tmp_path / "in" / "one", voxels, affine)
    else:
        write_series(tmp_path / "in", voxels, affine)
    assert convert(tmp_path / "in", tmp_path / "out", "--yes") == 0
    row = table(tmp_path / "out/cohort.csv")[0]
    points = nib.affines.apply_affine(affine, np.argwhere(np.ones(voxels.shape)))
    assert np.array_equal(values_at(tmp_path / "out" / row["path_t1"], points), voxels.ravel())


def test_a_scale_in_the_header_makes_the_values(tmp_path: Path) -> None:
    write_series(tmp_path / "in", ramp(), AXIAL, RescaleSlope="2.5", RescaleIntercept="-10")
    convert(tmp_path / "in", tmp_path / "out", "--yes")
    image = nib.load(next((tmp_path / "out").rglob("*.nii.gz")))
    points = nib.affines.apply_affine(AXIAL, np.argwhere(np.ones(ramp().shape)))
    voxels = nib.affines.apply_affine(np.linalg.inv(image.affine), points).round().astype(int)
    values = image.get_fdata()[tuple(voxels.T)]
    np.testing.assert_allclose(values, ramp().ravel() * 2.5 - 10)


def test_compressed_images_are_decoded(tmp_path: Path) -> None:
    voxels = ramp()
    for path in write_series(tmp_path / "in", voxels, AXIAL):
        data = pydicom.dcmread(path)
        data.compress(RLELossless)
        data.save_as(path)
    assert convert(tmp_path / "in", tmp_path / "out", "--yes") == 0
    points = nib.affines.apply_affine(AXIAL, np.argwhere(np.ones(voxels.shape)))
    (path,) = (tmp_path / "out").rglob("*.nii.gz")
    assert np.array_equal(values_at(path, points), voxels.ravel())


def test_no_identifying_field_is_in_any_byte_of_the_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    marks = {
        "PatientName": "QQname^QQgiven",
        "PatientID": "QQid4711",
        "PatientBirthDate": "19610203",
        "OtherPatientIDs": "QQother",
        "PatientAddress": "QQstreet",
        "PatientComments": "QQremark",
        "InstitutionName": "QQhospital",
        "InstitutionAddress": "QQtown",
        "StationName": "QQstation",
        "DeviceSerialNumber": "QQserial",
        "ReferringPhysicianName": "QQdoctor",
        "OperatorsName": "QQoperator",
        "AccessionNumber": "QQaccession",
        "StudyID": "QQstudy",
        "StudyDescription": "QQstudytext",
        "SeriesDescription": "t1_mprage QQseriestext",
        "ProtocolName": "QQprotocol",
        "SequenceName": "QQsequence",
        "ImageComments": "QQcomment",
        "ContrastBolusAgent": "QQagent",
        "StudyDate": "20190817",
        "SeriesDate": "20190817",
        "AcquisitionDate": "20190817",
        "StudyTime": "101112",
        "SoftwareVersions": "QQsoftware",
        "StudyInstanceUID": "1.2.826.0.1.4711471147",
        "SeriesInstanceUID": "1.2.826.0.1.8151815181",
        "FrameOfReferenceUID": "1.2.826.0.1.9261926192",
    }
    write_series(tmp_path / "QQfolder", ramp(), Manufacturer="SIEMENS", **marks)
    assert convert(tmp_path / "QQfolder", tmp_path / "out", "--yes") == 0
    sought = [*marks.values(), "QQ", "4711", "1961", "2019", "1.2.826.0.1"]
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 4  # key, series.csv, cohort.csv, the scan
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".gz":
            # Flags, time and system of the gzip header: no file name, no time.
            assert content[3:8] == bytes(5)
            content = gzip.decompress(content)[:352]  # the rest is voxels
        said = str(path.relative_to(tmp_path)).encode() + content
        if path.name == "key":
            continue  # random digits
        text = said.decode("latin-1")
        hashes = [row["series"] for row in table(tmp_path / "out/series.csv")]
        hashes += [row["subject_id"] for row in table(tmp_path / "out/series.csv")]
        for name in sorted(hashes, key=len, reverse=True):
            text = text.replace(name, "")  # random digits too
        assert [mark for mark in sought if mark in text] == []
    assert "QQ" not in "".join(capfd.readouterr()).replace(str(tmp_path), "")
    header = nib.load(next((tmp_path / "out").rglob("*.nii.gz"))).header
    assert all(header[name] == b"" for name in ("descrip", "aux_file", "intent_name", "db_name"))


def test_pseudonyms_stay_while_the_key_does_and_change_with_it(tmp_path: Path) -> None:
    write_series(tmp_path / "in", ramp())
    subjects = []
    for out in ("a", "b"):
        convert(tmp_path / "in", tmp_path / out, "--yes")
        subjects.append(table(tmp_path / out / "cohort.csv")[0]["subject_id"])
    for path in [*(tmp_path / "a").glob("*.csv"), *(tmp_path / "a").rglob("*.nii.gz")]:
        path.unlink()
    convert(tmp_path / "in", tmp_path / "a", "--yes")
    assert table(tmp_path / "a/cohort.csv")[0]["subject_id"] == subjects[0] != subjects[1]


def test_everything_written_is_its_owners_alone(tmp_path: Path) -> None:
    write_series(tmp_path / "in", ramp())
    convert(tmp_path / "in", tmp_path / "out", "--yes", "--keep-mapping")
    out = tmp_path / "out"
    modes = {stat.S_IMODE(path.stat().st_mode) for path in [out, *out.rglob("*")]}
    assert modes == {0o700, 0o600}
    assert table(out / "private/mapping.csv")[0]["PatientID"] == "P1"


def test_scanner_age_and_sex_are_kept_and_the_latter_left_out_on_request(tmp_path: Path) -> None:
    facts = {"Manufacturer": "SIEMENS", "ManufacturerModelName": "Prisma_fit"}
    facts |= {"MagneticFieldStrength": "2.89362", "PatientSex": "F", "PatientAge": "093Y"}
    write_series(tmp_path / "in", ramp(), **facts)
    convert(tmp_path / "in", tmp_path / "out", "--yes")
    row = table(tmp_path / "out/cohort.csv")[0]
    assert (row["source"], row["age"], row["sex"]) == ("Siemens-Prisma-fit-2.9T", "90", "F")
    convert(tmp_path / "in", tmp_path / "out", "--yes", "--no-covariates")
    assert not {"age", "sex"} & set(table(tmp_path / "out/cohort.csv")[0])
    assert {row["age"] for row in table(tmp_path / "out/series.csv")} == {""}


def test_two_dates_are_one_patient_and_two_subjects_in_order(tmp_path: Path) -> None:
    for date in ("20200101", "20170101"):
        write_series(tmp_path / "in" / date, ramp(), StudyDate=date, PatientBirthDate="19700601")
    write_series(tmp_path / "in/flair", ramp(), StudyDate="20200101", **FLAIR)
    assert convert(tmp_path / "in", tmp_path / "out", "--yes") == 0
    rows = sorted(table(tmp_path / "out/cohort.csv"), key=lambda row: row["visit"])
    assert [row["visit"] for row in rows] == ["1", "2"]
    assert [row["age"] for row in rows] == ["46", "49"]
    assert len({row["patient_id"] for row in rows}) == 1
    assert len({row["subject_id"] for row in rows}) == 2
    assert [bool(row["path_flair"]) for row in rows] == [False, True]


def test_an_earlier_batch_stays_and_the_order_of_dates_is_then_unknown(tmp_path: Path) -> None:
    for date in ("20170101", "20200101"):
        write_series(tmp_path / date, ramp(), StudyDate=date)
        assert convert(tmp_path / date, tmp_path / "out", "--yes") == 0
    rows = table(tmp_path / "out/cohort.csv")
    assert len(rows) == 2
    assert {row["visit"] for row in rows} == {""}


def test_the_table_is_a_cohort_that_preprocessing_finds(tmp_path: Path) -> None:
    patients = {"P1": "LGG", "P2": "HGG"}
    for patient in patients:
        write_series(tmp_path / "in" / patient, ramp(), PatientID=patient, StudyDate="20200101")
    write_series(tmp_path / "in/flair", ramp(), PatientID="P1", StudyDate="20200101", **FLAIR)
    labels = [{"PatientID": name, "label": label} for name, label in patients.items()]
    write_table(tmp_path / "labels.csv", labels)
    convert(tmp_path / "in", tmp_path / "out", "--yes", "--labels", str(tmp_path / "labels.csv"))
    cohort = str(tmp_path / "out/cohort.csv")
    scans = find_scans(DataConfig(kind="table", table=cohort, contrasts=("t1", "flair")))
    held = {scan.label: list(scan.paths) for scan in scans}
    assert held == {"LGG": ["t1", "flair"], "HGG": ["t1"]}
    assert all(path.is_file() for scan in scans for path in scan.paths.values())
    assert {scan.patient_id for scan in scans} == {row["patient_id"] for row in table(Path(cohort))}


def test_nothing_is_converted_before_the_list_was_seen_and_edits_count(tmp_path: Path) -> None:
    write_series(tmp_path / "in/a", ramp())
    write_series(tmp_path / "in/b", ramp(seed=1), **FLAIR)
    out = tmp_path / "out"
    assert convert(tmp_path / "in", out) == 1
    assert not list(out.rglob("*.nii.gz"))
    rows = table(out / "series.csv")
    for row in rows:
        row["use"] = {"t1": "No", "flair": "Yes"}[row["contrast"]]
        row["contrast"] = "T2flair"
    write_table(out / "series.csv", rows, delimiter=";")  # as some spreadsheets save it
    assert convert(tmp_path / "in", out) == 0
    (row,) = table(out / "cohort.csv")
    assert [name for name in row if name.startswith("path_")] == ["path_t2flair"]


def test_labels_and_columns_that_the_user_fills_in_are_kept(tmp_path: Path) -> None:
    write_series(tmp_path / "in/a", ramp())
    out = tmp_path / "out"
    convert(tmp_path / "in", out, "--yes")
    (row,) = table(out / "cohort.csv")
    assert row["label"] == ""
    write_table(out / "cohort.csv", [row | {"label": "HGG", "fold": "2"}])
    write_series(tmp_path / "in/b", ramp(seed=1), PatientID="P2")
    assert convert(tmp_path / "in", out, "--yes") == 0
    rows = {line["subject_id"]: line for line in table(out / "cohort.csv")}
    assert (rows[row["subject_id"]]["label"], rows[row["subject_id"]]["fold"]) == ("HGG", "2")
    assert sorted(line["label"] for line in rows.values()) == ["", "HGG"]


def test_labels_are_joined_by_the_hospitals_own_ids(tmp_path: Path) -> None:
    for name, patient in (("a", "007"), ("b", "12")):
        write_series(tmp_path / "in" / name, ramp(), PatientID=patient, SeriesNumber=int(patient))
    labels = [{"PatientID": "007", "label": "LGG", "name": "Doe"}]
    write_table(tmp_path / "labels.csv", labels)
    convert(tmp_path / "in", tmp_path / "out", "--yes", "--labels", str(tmp_path / "labels.csv"))
    numbers = {row["subject_id"]: row["number"] for row in table(tmp_path / "out/series.csv")}
    found = {numbers[row["subject_id"]]: row["label"] for row in table(tmp_path / "out/cohort.csv")}
    assert found == {"7": "LGG", "12": ""}
    write_table(tmp_path / "labels.csv", [{"PatientID": "7", "label": "LGG"}])
    assert convert(tmp_path / "in", tmp_path / "out", "--labels", str(tmp_path / "labels.csv")) == 2


def test_what_is_converted_is_not_converted_again_unless_it_grew(tmp_path: Path) -> None:
    voxels, out = ramp((20, 16, 14)), tmp_path / "out"
    fields = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4"}
    write_series(tmp_path / "in", voxels, skip=(12, 13), **fields)
    convert(tmp_path / "in", out, "--yes")
    (path,) = out.rglob("*.nii.gz")
    before = path.stat()
    assert convert(tmp_path / "in", out, "--yes") == 0
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    shutil.rmtree(tmp_path / "in")
    write_series(tmp_path / "in", voxels, **fields)
    assert convert(tmp_path / "in", out, "--yes") == 0
    whole = out / table(out / "cohort.csv")[0]["path_t1"]
    assert nib.load(whole).shape[2] == 14
    # Part of it again: the whole stays.
    for path in sorted((tmp_path / "in").iterdir())[:2]:
        path.unlink()
    assert convert(tmp_path / "in", out, "--yes") == 0
    assert out / table(out / "cohort.csv")[0]["path_t1"] == whole


def test_a_call_that_was_killed_leaves_nothing_behind_for_long(tmp_path: Path) -> None:
    write_series(tmp_path / "in", ramp())
    left = tmp_path / "out/.converting-abc/volumes"
    left.mkdir(parents=True)
    (left / "scan.nii").write_bytes(b"half")
    assert convert(tmp_path / "in", tmp_path / "out", "--yes") == 0
    (scan,) = (tmp_path / "out").rglob("*.nii.gz")
    (scan.parent / f".{scan.name}.abc.tmp").write_bytes(b"half")
    # It was killed after the conversion, before its list was written.
    (row,) = table(tmp_path / "out/series.csv")
    write_table(tmp_path / "out/series.csv", [row | {"result": ""}])
    assert convert(tmp_path / "in", tmp_path / "out") == 0
    assert list((tmp_path / "out").rglob(".*")) == []
    assert table(tmp_path / "out/series.csv") == [row]


def test_of_two_series_of_one_contrast_the_finer_is_used_and_two_used_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = {"StudyDate": "20200101"}
    write_series(tmp_path / "in/thick", ramp(), AXIAL, SeriesNumber=2, **day)
    write_series(tmp_path / "in/thin", ramp(), np.diag([1.0, 1, 1, 1]), SeriesNumber=9, **day)
    out = tmp_path / "out"
    assert convert(tmp_path / "in", out, "--yes") == 0
    rows = {row["number"]: row for row in table(out / "series.csv")}
    assert (rows["9"]["use"], rows["2"]["use"]) == ("yes", "no")
    assert rows["2"]["reason"].startswith("series 9 of this visit is used for t1")
    write_table(out / "series.csv", [row | {"use": "yes"} for row in rows.values()])
    assert convert(tmp_path / "in", out, "--yes") == 2
    assert "2 series of sub-" in capsys.readouterr().err


def secondary(folder: Path) -> None:
    write_series(folder, ramp(), SOPClassUID=SECONDARY_CAPTURE, Modality="OT")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"SOPClassUID": SECONDARY_CAPTURE}, "secondary capture"),
        ({"Modality": "CT"}, "not MR but CT"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "derived images"),
        ({"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, "derived images"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "phase, real or imaginary part"),
        ({"SeriesDescription": "ep2d_diff_3scan_trace_p2"}, "diffusion"),
        ({"SeriesDescription": "AAHead_Scout"}, "localiser"),
        ({"BurnedInAnnotation": "YES"}, "text burned into the images"),
        ({"AngioFlag": "Y", "SeriesDescription": ""}, "angiography"),
        ({"skip": tuple(range(5))}, "only 7 slices"),
        ({"skip": (4,)}, "1 slice missing between the first and the last"),
        ({"ImagePositionPatient": [0, 0, 0]}, "12 images at 1 positions: several volumes"),
        ({"SeriesDescription": "3D SAG", "EchoTime": 30}, "no known word; TR 2000 ms"),
    ],
)
def test_a_series_that_is_no_structural_volume_is_listed_with_the_reason(
    tmp_path: Path, fields: dict[str, object], reason: str
) -> None:
    write_series(tmp_path / "in/good", ramp())
    write_series(tmp_path / "in/other", ramp(seed=1), **({"SeriesNumber": 8} | fields))
    assert convert(tmp_path / "in", tmp_path / "out", "--yes") == 0
    rows = {row["number"]: row for row in table(tmp_path / "out/series.csv")}
    assert rows["8"]["use"] == "no"
    assert rows["8"]["reason"].startswith(reason)
    assert len(table(tmp_path / "out/cohort.csv")) == 1


def test_a_series_that_was_left_out_may_be_taken_in(tmp_path: Path) -> None:
    write_series(tmp_path / "in", ramp(), ImageType=["DERIVED", "SECONDARY"])
    assert convert(tmp_path / "in", tmp_path / "out") == 2
    (row,) = table(tmp_path / "out/series.csv")
    write_table(tmp_path / "out/series.csv", [row | {"use": "yes", "contrast": "t1"}])
    assert convert(tmp_path / "in", tmp_path / "out") == 0


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 1), ("", 1)])
def test_on_a_terminal_it_asks(tmp_path: Path, answer: str, status: int) -> None:
    write_series(tmp_path / "in", ramp())
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "preprocessing.dicom", "--in", "in", "--out", "out"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        said = b""
        with contextlib.suppress(OSError):  # how a terminal ends
            while part := os.read(ours, 4096):
                said += part
    os.close(ours)
    assert b"Convert the 1 series to use, as listed? [y/N]" in said
    assert process.returncode == status
    assert len(list((tmp_path / "out").rglob("*.nii.gz"))) == (answer == "y")


def test_several_echoes_in_one_series_are_listed_as_such(tmp_path: Path) -> None:
    for echo in (15, 90):
        uids = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4"}
        write_series(tmp_path / f"in/{echo}", ramp(), EchoTime=echo, **uids)
    assert convert(tmp_path / "in", tmp_path / "out", "--yes") == 2
    (row,) = table(tmp_path / "out/series.csv")
    assert row["reason"] == "2 echo times in one series"
    write_table(tmp_path / "out/series.csv", [row | {"use": "yes", "contrast": "pd"}])
    assert convert(tmp_path / "in", tmp_path / "out") == 1
    assert "2 volumes" in table(tmp_path / "out/series.csv")[0]["result"]


@pytest.mark.parametrize(("sex", "doubted"), [("M", True), ("F", False), ("", False)])
def test_one_id_for_two_persons_is_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sex: str, doubted: bool
) -> None:
    write_series(tmp_path / "in/a", ramp(), PatientSex="F")
    write_series(tmp_path / "in/b", ramp(), PatientSex=sex)
    convert(tmp_path / "in", tmp_path / "out", "--yes")
    said = capsys.readouterr().err
    assert ("one id may stand for several persons" in said) == doubted


def test_an_image_exported_twice_counts_once(tmp_path: Path) -> None:
    write_series(tmp_path / "in/a", ramp())
    shutil.copytree(tmp_path / "in/a", tmp_path / "in/a copy")
    assert convert(tmp_path / "in", tmp_path / "out", "--yes") == 0
    assert table(tmp_path / "out/series.csv")[0]["images"] == "12"


def test_a_truncated_image_fails_in_one_line_and_the_rest_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in/a", ramp())
    broken = write_series(tmp_path / "in/b", ramp(seed=1), PatientID="P2")[3]
    os.truncate(broken, broken.stat().st_size - 100)
    assert convert(tmp_path / "in", tmp_path / "out", "--yes") == 1
    assert "dcm2niix failed: an image is truncated" in capsys.readouterr().err
    assert len(table(tmp_path / "out/cohort.csv")) == 1


def test_other_files_are_counted_and_a_pipe_does_not_stop_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in/deep/er", ramp())
    os.mkfifo(tmp_path / "in/pipe.dcm")
    (tmp_path / "in/nowhere").symlink_to(tmp_path / "absent")
    (tmp_path / "in/notes.txt").write_text("notes")
    (tmp_path / "in/more.zip").write_bytes(b"PK")
    (tmp_path / "in/broken").write_bytes(bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI\xff\xff1")
    report = Dataset()
    report.Modality, report.SeriesInstanceUID = "SR", "1.2.3"
    report.save_as(tmp_path / "in/report", implicit_vr=True, little_endian=True)
    assert convert(tmp_path / "in", tmp_path / "out", "--yes") == 0
    said = capsys.readouterr().err
    assert "12 images in 1 series of 1 patient; left out: 2 other files" in said
    assert "without an image" in said
    assert "1 archive among them: unpack first" in said


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "there is no folder"),
        (Path.mkdir, "--in holds no DICOM image; found nothing else"),
        (secondary, "none of the 1 series can be used: 1 × secondary capture"),
    ],
)
def test_a_folder_without_scans_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make, said: str
) -> None:
    make(tmp_path / "in")
    assert convert(tmp_path / "in", tmp_path / "out", "--yes") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert said in errors[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use": "maybe"}, "line 2 of .*series.csv: use must be yes or no, found 'maybe'"),
        ({"contrast": ""}, "line 2 of .*series.csv: a series that is used needs a contrast"),
        ({"contrast": "../t1"}, "line 2 of .*series.csv: a series that is used needs a contrast"),
        ({"images": "many"}, "line 2 of .*series.csv: the columns images and number"),
    ],
)
def test_a_mistake_in_the_edited_list_names_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], said: str
) -> None:
    write_series(tmp_path / "in", ramp())
    convert(tmp_path / "in", tmp_path / "out")
    (row,) = table(tmp_path / "out/series.csv")
    write_table(tmp_path / "out/series.csv", [row | change])
    capsys.readouterr()
    assert convert(tmp_path / "in", tmp_path / "out") == 2
    assert re.search(said, capsys.readouterr().err)
