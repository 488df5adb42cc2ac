"""Near duplicates from scans on disk to duplicates.csv, qc.html and the terminal."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console
from scipy import ndimage

from preprocessing.__main__ import tell
from preprocessing.build import build
from preprocessing.cohorts import find_scans
from stfmri.study import duplicates
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig, PreprocessingConfig
from stfmri.study.shards import read_index

PEOPLE = 12


@pytest.mark.slow
@pytest.mark.parametrize("spacing_mm", [4, 8])
def test_copies_of_real_heads_are_found_and_no_two_people_taken_for_one(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spacing_mm: int
) -> None:
    folder = real_data / "ixi_hh"
    with (folder / "participants.csv").open(encoding="utf-8", newline="") as file:
        people = list(csv.DictReader(file))[:PEOPLE]
    lines = ["subject_id,path,mask,label"]
    for number, person in enumerate(people):
        lines.append(
            f"{person['subject_id']},{folder / person['path']},{folder / person['mask']},"
            f"{'ab'[number % 2]}"
        )
    copied = people[0]
    scan, mask = nib.load(folder / copied["path"]), nib.load(folder / copied["mask"])
    values = np.asarray(scan.dataobj, np.float32)
    brain = np.asarray(np.asarray(mask.dataobj) > 0, np.uint8)
    rescaled = np.round(values * (30000 / values.max())).astype(np.int16)
    # These heads came with 255 levels: so many again would be the same voxels, which have one hash.
    coarser = np.round(values * (120 / values.max())).astype(np.uint8)
    made = {
        "rescaled": (rescaled, brain),
        "coarser": (coarser, brain),
        "halfway": tuple(_moved_by_half(a) for a in (values, brain)),
        "shrunk": (values, ndimage.binary_erosion(brain).astype(np.uint8)),
        "moved": (np.roll(values, 1, 2), np.roll(brain, 1, 2)),
        "one_more": tuple(np.concatenate([a[:, :, :1], a], axis=2) for a in (values, brain)),
    }
    for name, (voxels, inside) in made.items():
        nib.save(nib.Nifti1Image(voxels, scan.affine), tmp_path / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(inside, scan.affine), tmp_path / f"{name}-mask.nii.gz")
        lines.append(f"{name},{name}.nii.gz,{name}-mask.nii.gz,a")
    table = tmp_path / "cohort.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = Config(
        root=str(tmp_path),
        data=DataConfig(table=str(table)),
        preprocessing=PreprocessingConfig(spacing_mm=spacing_mm),
    )
    report = build(config, find_scans(config.data), jobs=1)
    one_person = {copied["subject_id"], *made}
    # The grid follows the brain: a copy that was moved has the very same voxels, whose hash tells.
    sha256 = {row.subject_id: row.sha256 for row in read_index(config.cache)}
    moved = {name for name in made if sha256[name] == sha256[copied["subject_id"]]}
    assert moved == {"moved", "one_more"}
    found = {frozenset((pair.subject_a, pair.subject_b)) for pair in report.duplicates}
    assert {frozenset((copied["subject_id"], name)) for name in made.keys() - moved} <= found
    assert all(pair <= one_person for pair in found)
    assert duplicates.read(config.cache)
    tell(report, Console(stderr=True, soft_wrap=True))
    assert "almost the same: " in capsys.readouterr().err
    page = (config.cache / "qc.html").read_text(encoding="utf-8")
    # Each warning is on the subject's card, and in its viewer.
    assert page.count("almost the same as") == 2 * len(one_person)
    assert page.count("same voxels as") == 2 * (len(moved) + 1)


def _moved_by_half(values: np.ndarray) -> np.ndarray:
    """Interpolated between two slices; a mask stays one."""
    between = (values + np.roll(values, 1, 1).astype(np.float32)) / 2
    return between if values.dtype == np.float32 else (between > 0.5).astype(np.uint8)


def test_a_cohort_without_copies_says_that_it_was_looked_at(
    cohort: Callable[..., Config],
) -> None:
    config = cohort()
    report = build(config, find_scans(config.data), jobs=1)
    assert report.duplicates == ()
    assert (config.cache / "duplicates.csv").read_text().splitlines() == [
        "subject_a,subject_b,correlation"
    ]
