"""What is a scan and what is none, and whether it shows a head or a brain, by its values alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from preprocessing.cohorts import Scan
from preprocessing.nifti import Image, ScanError, parse, read_bytes
from preprocessing.recognise import require_brain, require_scan, require_told_apart
from tests.preprocessing.conftest import brain_values

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
HEAD = Scan("s", "s", "", "", {})
BRAIN = replace(HEAD, stripped=True)
MASKED = replace(HEAD, mask=Path("m.nii"))


def read(path: Path) -> Image:
    return parse(read_bytes(path))


def test_real_scans_are_scans_and_heads_are_told_from_brains(real_data: Path) -> None:
    heads = [*sorted((real_data / "ixi_hh/IXI-T1").glob("*"))[:3]]
    heads += sorted((real_data / "glioma_raw").glob("*T2*"))
    brains = [path for path in sorted((real_data / "glioma").glob("*")) if "seg" not in path.name]
    assert len(heads) == 4
    for paths, right, wrong in ((heads, HEAD, BRAIN), (brains[::3], BRAIN, HEAD)):
        for path in paths:
            image = read(path)
            require_scan(image)
            require_told_apart(image, right)
            with pytest.raises(ScanError, match="brain-extracted"):
                require_told_apart(image, wrong)
            require_told_apart(image, replace(wrong, mask=Path("m.nii")))


def test_real_parcellations_and_segmentations_are_no_scans(real_data: Path) -> None:
    labels = sorted((real_data / "ixi_hh/masks").glob("*"))[:3]
    for path in (*labels, *(real_data / "glioma").glob("*seg*")):
        with pytest.raises(ScanError, match=r"label image"):
            require_scan(read(path))


def test_a_scan_of_eight_bits_is_a_scan() -> None:
    values = brain_values(0).astype(np.float32)
    eight_bits = np.round(values / values.max() * 255).astype(np.uint8)
    require_scan(Image(eight_bits, AFFINE))


@pytest.mark.parametrize(
    ("made_of", "complaint"),
    [
        (lambda values: (values > 0).astype(np.uint8), "a binary mask is no scan"),
        (lambda values: (values > 0) * np.float32(0.7), "a binary mask is no scan"),
        (lambda values: values // 100, "label image's, not a scan's"),
        (lambda values: np.kron(values[::2, ::2, ::2], np.ones((2, 2, 2), np.int16)), ""),
    ],
)
def test_masks_and_images_of_few_values_are_none(
    made_of: Callable[[np.ndarray], np.ndarray], complaint: str
) -> None:
    image = Image(made_of(brain_values(0)), AFFINE)
    if complaint:
        with pytest.raises(ScanError, match=complaint):
            require_scan(image)
    else:  # of 8 mm voxels, saved as 4 mm: a half of all neighbours is equal, as in no label image
        require_scan(image)


def test_a_probability_map_of_labels_smoothed_is_not_taken_for_labels() -> None:
    labels = (brain_values(0) // 150).astype(np.float32)
    require_scan(Image(ndimage.gaussian_filter(labels, 1.0), AFFINE))


@pytest.mark.parametrize(
    ("brain_ml", "usual", "fine"),
    [
        (1400, None, True),
        (250, None, False),
        (2800, None, False),
        (250, (240.0, 420.0), True),
        (150, (240.0, 420.0), False),
        (1400, (240.0, 420.0), True),
    ],
)
def test_a_brain_has_a_volume_that_brains_have_or_those_of_training(
    brain_ml: float, usual: tuple[float, float] | None, fine: bool
) -> None:
    if fine:
        require_brain(brain_ml, usual)
    else:
        with pytest.raises(ScanError, match=f"a brain of {brain_ml} ml is none"):
            require_brain(brain_ml, usual)
