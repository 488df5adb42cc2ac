from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from benchmarks.brain_extraction import dice
from preprocessing import skullstrip
from preprocessing.brain import brain_mask, find_brain, largest_piece, read_mask, recipe
from preprocessing.nifti import Image, ScanError, parse, read_bytes
from stfmri.study.errors import UserError
from tests.preprocessing.conftest import brain_values, write_scan


def heads(real_data: Path) -> list[tuple[Path, Path]]:
    folder = real_data / "ixi_hh"
    with (folder / "participants.csv").open(newline="", encoding="utf-8") as file:
        return [(folder / line["path"], folder / line["mask"]) for line in csv.DictReader(file)]


@pytest.fixture
def small_head() -> Image:
    """A stripped brain; extraction is replaced where it is used."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    return Image(brain_values(0), affine)


def test_extracted_brains_match_the_reference_masks(real_data: Path) -> None:
    # Every 48th of the 96 heads; benchmarks/brain_extraction.py measures them all.
    for scan, reference in heads(real_data)[::48]:
        image = parse(read_bytes(scan))
        found = brain_mask(image, "brainextractor")
        assert dice(found, read_mask(reference, image)) > 0.92


@pytest.mark.slow
def test_a_head_of_one_millimetre_with_another_contrast_is_extracted(real_data: Path) -> None:
    image = parse(read_bytes(real_data / "heads/colin27_ch2_T1head_1mm.nii.gz"))
    reference = read_mask(real_data / "heads/colin27_ch2bet_brain_1mm.nii.gz", image)
    assert dice(brain_mask(image, "brainextractor"), largest_piece(reference)) > 0.9


def test_the_compiled_surface_moves_as_the_port_moves_it(
    real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brainextractor import BrainExtractor

    from preprocessing import bet

    steps = 40
    monkeypatch.setattr(bet, "ITERATIONS", steps)
    image = nib.as_closest_canonical(nib.load(heads(real_data)[0][0]))
    head = image.get_fdata(dtype=np.float32)[:, :, -75:]
    theirs = BrainExtractor(nib.Nifti1Image(head, np.diag([2.0, 2.0, 2.0, 1.0])))
    theirs.run(iterations=steps)
    np.testing.assert_array_equal(bet.extract(head, 2.0), theirs.compute_mask() > 0)


def test_a_mask_is_extracted_once_and_again_when_its_file_is_damaged(
    small_head: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def extract(image: Image, method: str) -> np.ndarray:
        calls.append(method)
        return np.asarray(image.data > 0)

    monkeypatch.setattr(skullstrip, "brain_mask", extract)

    def found(digest: str = "one") -> np.ndarray:
        return find_brain(small_head, digest, None, False, "brainextractor", tmp_path)

    first = found()
    np.testing.assert_array_equal(found(), first)
    assert len(calls) == 1
    (kept,) = tmp_path.glob("*.nii.gz")
    assert kept.stat().st_mode & 0o077 == 0
    kept.write_bytes(kept.read_bytes()[:100])
    np.testing.assert_array_equal(found(), first)
    assert len(calls) == 2
    found("another scan")
    assert len(calls) == 3


def test_the_recipe_names_the_version_of_the_port() -> None:
    assert "0." in recipe("brainextractor")


def test_a_given_mask_must_lie_on_the_grid_of_its_scan(small_head: Image, tmp_path: Path) -> None:
    values = brain_values(0)
    right = tmp_path / "right.nii"
    nib.save(nib.Nifti1Image((values > 0).astype(np.uint8), small_head.affine), right)
    assert read_mask(right, small_head).sum() == np.count_nonzero(values)
    shifted = small_head.affine.copy()
    shifted[0, 3] += 5
    wrong = {
        "lies up to 5.0 mm off": nib.Nifti1Image((values > 0).astype(np.uint8), shifted),
        "has .* voxels, the scan": nib.Nifti1Image(values[:-1], small_head.affine),
        "is empty": nib.Nifti1Image(-values, small_head.affine),
        "constant": nib.Nifti1Image(values * 0, small_head.affine),
    }
    for said, mask in wrong.items():
        nib.save(mask, tmp_path / "mask.nii")
        with pytest.raises(ScanError, match=f"mask mask.nii.*{said}"):
            read_mask(tmp_path / "mask.nii", small_head)


FAKE_BET = """#!{python}
import sys
import nibabel as nib
import numpy as np
# bet2 knows no -R
assert ("-R" in sys.argv) == sys.argv[0].endswith("bet"), sys.argv
head = nib.load(sys.argv[1])
mask = (np.asarray(head.dataobj) > 0).astype(np.uint8)
nib.save(nib.Nifti1Image(mask, head.affine), sys.argv[2] + "_mask.nii.gz")
"""


def fake_bet(folder: Path, text: str, name: str = "bet") -> None:
    command = folder / name
    command.write_text(text)
    command.chmod(0o700)


@pytest.mark.parametrize("name", ["bet", "bet2"])
def test_fsl_is_taken_where_bet_is_on_the_path(
    small_head: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert skullstrip.resolve("auto") == "brainextractor"
    with pytest.raises(UserError, match="needs FSL's bet or bet2"):
        brain_mask(small_head, "fsl")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.defpath}")
    fake_bet(tmp_path, FAKE_BET.format(python=sys.executable), name)
    assert skullstrip.resolve("auto") == "fsl"
    np.testing.assert_array_equal(brain_mask(small_head, "fsl"), small_head.data > 0)


def test_a_failing_bet_rejects_the_scan_with_what_it_said(
    small_head: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.defpath}")
    fake_bet(tmp_path, "#!/bin/sh\necho 'no licence' >&2\nexit 1\n")
    with pytest.raises(ScanError, match="no licence"):
        brain_mask(small_head, "fsl")


def test_a_head_without_a_brain_is_a_scan_error_and_no_crash(tmp_path: Path) -> None:
    values = np.zeros((20, 20, 20), np.int16)
    values[3, 3, 3] = 1
    image = parse(read_bytes(write_scan(tmp_path / "dot.nii", values)))
    with pytest.raises(ScanError, match="brain extraction"):
        brain_mask(image, "brainextractor")


def test_loose_voxels_go_and_holes_are_filled() -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[4:15, 4:15, 4:15] = True
    mask[9, 9, 9] = False
    mask[18, 18, 18] = True
    cleaned = largest_piece(mask)
    assert cleaned.sum() == 11**3
    assert not largest_piece(np.zeros((3, 3, 3), bool)).any()
