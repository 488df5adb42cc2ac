"""BIDS, raw and derivative: entities, sessions, participants.tsv, masks."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocessing.cohorts import find_scans
from preprocessing.cohorts.bids import parse
from preprocessing.cohorts.scan import Scan
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import ConfigError, UserError
from tests.preprocessing.layouts import bids, touch, write

PARTICIPANTS = (
    "participant_id\tage\tlabel\tsite\nsub-01\t40\tcontrol\tLeipzig\nsub-02\tn/a\tpatient\tn/a\n"
)


def found(folder: Path, **settings: object) -> dict[str, Scan]:
    data = DataConfig(kind="bids", folder=str(folder), **settings)  # type: ignore[arg-type]
    return {scan.subject_id: scan for scan in find_scans(data)}


def test_names_come_apart_into_entities() -> None:
    name = parse(Path("x"), "sub-01_ses-pre_acq-mp-rage_ce-gd_T1w")
    assert name.entities == {"sub": "01", "ses": "pre", "acq": "mp-rage", "ce": "gd"}
    assert (name.suffix, name.contrast) == ("T1w", "t1ce")


def test_a_raw_dataset_gives_contrasts_labels_and_covariates(tmp_path: Path) -> None:
    folder = bids(
        tmp_path / "ds",
        *(f"sub-01_{name}.nii.gz" for name in ("T1w", "T2w", "FLAIR", "PDw", "ce-gadolinium_T1w")),
        *(f"sub-02_{name}.nii" for name in ("T1w", "ce-GD_T1w")),
        participants=PARTICIPANTS,
    )
    touch(folder / "sub-01" / "func" / "sub-01_task-rest_bold.nii.gz", folder / "sub-01.html")
    touch(folder / "sub-01" / "anat" / "sub-01_T1w.json")
    wanted = ("t1ce", "t1", "t2", "flair", "pd")
    first, second = found(folder, contrasts=wanted).values()
    assert {name: path.name for name, path in first.paths.items()} == {
        "t1ce": "sub-01_ce-gadolinium_T1w.nii.gz",
        "t1": "sub-01_T1w.nii.gz",
        "t2": "sub-01_T2w.nii.gz",
        "flair": "sub-01_FLAIR.nii.gz",
        "pd": "sub-01_PDw.nii.gz",
    }
    assert tuple(first.paths) == wanted
    assert list(second.paths) == ["t1ce", "t1"]
    assert (first.label, first.source, first.patient_id) == ("control", "Leipzig", "sub-01")
    assert (second.label, second.source, second.columns["age"]) == ("patient", "ds", "n/a")
    assert [scan.path.name for scan in found(folder).values()] == [
        "sub-01_T1w.nii.gz",
        "sub-02_T1w.nii",
    ]


def test_each_session_is_a_scan_of_one_patient(tmp_path: Path) -> None:
    folder = bids(
        tmp_path,
        "sub-01_ses-1_T1w.nii.gz",
        "sub-01_ses-2_T1w.nii.gz",
        "sub-02_T1w.nii.gz",
        participants=PARTICIPANTS,
    )
    (folder / "sub-01" / "ses-3" / "func").mkdir(parents=True)
    scans = found(folder)
    assert {name: scan.patient_id for name, scan in scans.items()} == {
        "sub-01_ses-1": "sub-01",
        "sub-01_ses-2": "sub-01",
        "sub-02": "sub-02",
    }
    # A table of one's own may give each session its label.
    text = "subject_id,stage\nsub-01_ses-1,before\nsub-01_ses-2,after\nsub-02,before\n"
    table = write(tmp_path / "stages.csv", text)
    staged = found(folder, table=table, label="stage")
    assert [scan.label for scan in staged.values()] == ["before", "after", "before"]


def test_two_files_for_one_contrast_are_named_with_the_entity(tmp_path: Path) -> None:
    folder = bids(
        tmp_path,
        "sub-01_run-1_T1w.nii.gz",
        "sub-01_run-2_T1w.nii.gz",
        "sub-02_T1w.nii.gz",
        participants=PARTICIPANTS,
    )
    first, second = found(folder).values()
    assert first.fault == (
        "2 files for t1, sub-01_run-1_T1w.nii.gz and sub-01_run-2_T1w.nii.gz: they differ in run; "
        "keep one of them, or list the scans in a table (data=table)"
    )
    assert not second.fault


def test_subjects_without_the_contrast_or_without_a_row_are_faults(tmp_path: Path) -> None:
    folder = bids(
        tmp_path,
        "sub-01_T2w.nii.gz",
        "sub-02_T1w.nii.gz",
        "sub-03_T1w.nii.gz",
        participants=PARTICIPANTS,
    )
    (folder / "sub-04" / "func").mkdir(parents=True)
    faults = [scan.fault for scan in found(folder).values()]
    assert faults[0] == f"no t1 in {folder}/sub-01/anat"
    assert faults[1:3] == ["", "not listed in participants.tsv"]
    assert faults[3] == f"no t1 in {folder}/sub-04/anat"
    with pytest.raises(ConfigError, match=r"flair unknown; .* holds t1, t2$"):
        found(folder, contrasts=("flair",))


def derivative(folder: Path) -> Path:
    """What sMRIPrep writes of two subjects, the second with a scan in MNI space alone."""
    return bids(
        folder / "derivatives" / "smriprep",
        "sub-01_desc-preproc_T1w.nii.gz",
        "sub-01_desc-brain_mask.nii.gz",
        "sub-01_dseg.nii.gz",
        "sub-01_label-GM_probseg.nii.gz",
        "sub-01_space-MNI152Lin_desc-preproc_T1w.nii.gz",
        "sub-01_space-MNI152Lin_desc-brain_mask.nii.gz",
        "sub-02_space-MNI152Lin_desc-preproc_T1w.nii.gz",
        "sub-02_space-MNI152Lin_desc-brain_mask.nii.gz",
    )


def test_a_derivative_gives_its_own_space_and_the_mask_of_the_same_entities(tmp_path: Path) -> None:
    bids(tmp_path, "sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz", participants=PARTICIPANTS)
    first, second = found(derivative(tmp_path)).values()
    assert first.path.name == "sub-01_desc-preproc_T1w.nii.gz"
    assert first.mask == first.path.with_name("sub-01_desc-brain_mask.nii.gz")
    assert second.path.name == "sub-02_space-MNI152Lin_desc-preproc_T1w.nii.gz"
    assert second.mask == second.path.with_name("sub-02_space-MNI152Lin_desc-brain_mask.nii.gz")
    assert [first.label, second.label] == ["control", "patient"]
    # The raw dataset around it is its own cohort.
    assert [scan.mask for scan in found(tmp_path).values()] == [None, None]


def test_a_mask_counts_where_exactly_one_fits(tmp_path: Path) -> None:
    folder = bids(
        tmp_path,
        "sub-01_acq-a_desc-preproc_T1w.nii.gz",
        "sub-01_acq-b_desc-brain_mask.nii.gz",
        "sub-02_desc-preproc_T1w.nii.gz",
        "sub-02_desc-brain_mask.nii.gz",
        "sub-02_label-brain_mask.nii.gz",
        participants=PARTICIPANTS,
    )
    assert [scan.mask for scan in found(folder).values()] == [None, None]


def test_the_file_beside_a_scan_says_whether_it_is_stripped(tmp_path: Path) -> None:
    folder = bids(tmp_path, "sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz", participants=PARTICIPANTS)
    write(folder / "sub-01/anat/sub-01_T1w.json", '{"SkullStripped": true}')
    write(folder / "sub-02/anat/sub-02_T1w.json", "[1, not json")
    assert [scan.stripped for scan in found(folder).values()] == [True, False]
    assert [scan.stripped for scan in found(folder, stripped=True).values()] == [True, True]


def test_participants_are_asked_for_with_what_they_must_hold(tmp_path: Path) -> None:
    folder = bids(tmp_path / "ds", "sub-01_T1w.nii.gz")
    with pytest.raises(UserError, match=r"has no participants.tsv, .*participant_id .*diagnosis"):
        found(folder, label="diagnosis")
    write(folder / "participants.tsv", "participant_id\tage\nsub-01\t40\n")
    with pytest.raises(UserError, match=r"lacks the column diagnosis \(found: participant_id, age"):
        found(folder, label="diagnosis")
    write(folder / "participants.tsv", "participant_id\tdiagnosis\n01\tx\n")
    with pytest.raises(UserError, match=r"must hold the subjects, such as sub-01.* but 01"):
        found(folder, label="diagnosis")
    with pytest.raises(UserError, match=r"holds no folders sub-<label>"):
        found(tmp_path)


def test_a_dataset_without_the_usual_contrast_asks_for_another(tmp_path: Path) -> None:
    folder = bids(tmp_path / "a", "sub-01_FLAIR.nii", "sub-01_T2w.nii", participants=PARTICIPANTS)
    with pytest.raises(
        UserError, match=r"no scan .*_T1w.nii.gz; choose data.contrasts of t2, flair"
    ):
        found(folder)
    assert list(found(folder, contrasts=("T2w",))["sub-01"].paths) == ["T2w"]
    empty = bids(tmp_path / "b", "sub-01_bold.nii", participants=PARTICIPANTS)
    with pytest.raises(UserError, match=r"no scan .*_T1w.nii.gz; nor any other"):
        found(empty)
