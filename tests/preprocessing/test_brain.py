from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from preprocessing.brain import brain_mask, find_brain, large_pieces, read_mask, require
from preprocessing.cohorts import Scan
from preprocessing.extraction import EXTRACTORS
from preprocessing.extraction.record import Extractor
from preprocessing.nifti import Image, ScanError
from stfmri.study.errors import ConfigError, UserError
from tests.preprocessing.conftest import brain_values


@pytest.fixture
def small_head() -> Image:
    return Image(brain_values(0), np.diag([4.0, 4.0, 4.0, 1.0]))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Image]:
    """The scans given to the extractor `counted`, which takes every voxel above 0."""
    given: list[Image] = []

    def extract(image: Image) -> np.ndarray:
        given.append(image)
        return np.asarray(image.data > 0)

    record = Extractor("counted", "counted", lambda: "", lambda: "counted 1", extract)
    monkeypatch.setitem(EXTRACTORS, "counted", record)
    return given


def test_a_mask_is_extracted_once_and_again_when_its_file_is_damaged(
    small_head: Image, tmp_path: Path, calls: list[Image]
) -> None:
    def found(digest: str = "one") -> np.ndarray:
        return find_brain(small_head, digest, None, False, "counted", tmp_path)

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


def test_another_recipe_extracts_anew(
    small_head: Image, tmp_path: Path, calls: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    find_brain(small_head, "one", None, False, "counted", tmp_path)
    newer = Extractor("counted", "", lambda: "", lambda: "counted 2", EXTRACTORS["counted"].extract)
    monkeypatch.setitem(EXTRACTORS, "counted", newer)
    find_brain(small_head, "one", None, False, "counted", tmp_path)
    assert len(calls) == 2
    assert len(list(tmp_path.glob("*.nii.gz"))) == 2


@pytest.mark.parametrize(
    ("extract", "said"),
    [
        (lambda image: np.zeros(image.data.shape, bool), r"\(broken\) found no brain"),
        (lambda image: read_mask(Path("/nowhere/mask.nii"), image), r"\(broken\) failed: mask"),
    ],
)
def test_an_extractor_that_fails_rejects_the_scan_by_its_name(
    small_head: Image, monkeypatch: pytest.MonkeyPatch, extract, said: str
) -> None:
    record = Extractor("broken", "broken", lambda: "", lambda: "broken 1", extract)
    monkeypatch.setitem(EXTRACTORS, "broken", record)
    with pytest.raises(ScanError, match=said):
        brain_mask(small_head, "broken")


def scans(**given: object) -> list[Scan]:
    return [Scan("s", "p", "here", "a", {"scan": Path("s.nii")}, **given)]  # type: ignore[arg-type]


def test_an_extractor_is_required_only_where_a_scan_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    require("fsl", scans(stripped=True))
    require("fsl", scans(mask=Path("mask.nii")))
    with pytest.raises(UserError, match=r"preprocessing\.skullstrip=fsl needs FSL's bet or bet2"):
        require("fsl", scans())


def test_an_unknown_extractor_is_refused_even_where_no_scan_needs_one() -> None:
    names = "deepbet, hdbet, hdbet2, synthstrip, fsl"
    with pytest.raises(ConfigError, match=f"{names}; found 'depbet'; did you mean deepbet"):
        require("depbet", scans(stripped=True))


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


def test_loose_voxels_go_and_holes_are_filled() -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[4:15, 4:15, 4:15] = True
    mask[9, 9, 9] = False
    mask[18, 18, 18] = True
    cleaned = large_pieces(mask)
    assert cleaned.sum() == 11**3
    assert not large_pieces(np.zeros((3, 3, 3), bool)).any()
