from __future__ import annotations

import gzip
import math
import os
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from preprocessing.nifti import ScanError, parse, read_bytes
from tests.preprocessing.conftest import brain_values

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def content(values: np.ndarray, affine: np.ndarray = AFFINE, **header: object) -> bytes:
    image = nib.Nifti1Image(values, affine)
    for name, value in header.items():
        image.header[name] = value
    return image.to_bytes()


def with_hole(value: float) -> np.ndarray:
    values = brain_values(0).astype(np.float32)
    values[20, 20, 20] = value
    return values


def patched(offset: int, kind: str, *values: float) -> bytes:
    """A scan with other bytes in its header."""
    written = bytearray(content(brain_values(0)))
    struct.pack_into(f"<{kind}", written, offset, *values)
    return bytes(written)


def zero_spacing() -> bytes:
    image = nib.Nifti1Image(brain_values(0), None)
    image.header["pixdim"][1:4] = [4, 0, 4]
    return image.header.binaryblock + image.to_bytes()[348:]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: gzip.compress(content(brain_values(0)))[:-2000], "truncated or damaged gzip"),
        (lambda: content(brain_values(0))[:-2000], "truncated: fewer bytes"),
        (lambda: b"not a scan" * 100, "not a NIfTI file"),
        (lambda: content(brain_values(0))[:200], "damaged NIfTI header"),
        (lambda: content(np.stack([brain_values(0)] * 2, -1)), r"3-D volume, found the shape"),
        (lambda: content(brain_values(0)[:, :, :1]), r"3-D volume, found the shape"),
        (lambda: content(with_hole(np.nan)), "1 voxels are NaN or infinite"),
        (lambda: content(with_hole(np.inf)), "1 voxels are NaN or infinite"),
        (lambda: content(np.full((9, 9, 9), 7, np.int16)), "constant volume: every voxel is 7"),
        (lambda: content(brain_values(0).astype(np.complex64)), "expected real numbers"),
        (lambda: content(brain_values(0), np.diag([4.0, 4.0, 400.0, 1.0])), "voxels of 4×4×400 mm"),
        (zero_spacing, "voxel sizes are"),
        # 70 TB announced, and voxels that start beyond the end, or nowhere.
        (lambda: patched(40, "8h", 3, *[32767] * 3, 1, 1, 1, 1), "truncated: fewer bytes"),
        (lambda: patched(108, "f", 1e20), "truncated: fewer bytes"),
        (lambda: patched(108, "f", math.inf), "damaged NIfTI header"),
        (lambda: patched(112, "f", 1e38), "are no scan's"),
        (lambda: content(brain_values(0) * 1e300), "are no scan's"),
    ],
)
def test_a_scan_that_cannot_be_used_says_why_in_one_line(
    make: Callable[[], bytes], said: str
) -> None:
    with pytest.raises(ScanError, match=said) as caught:
        parse(make())
    assert "\n" not in str(caught.value)


def test_a_missing_an_empty_and_an_unreadable_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.nii").touch()
    with pytest.raises(ScanError, match="No such file"):
        read_bytes(tmp_path / "none.nii")
    with pytest.raises(ScanError, match="is empty"):
        read_bytes(tmp_path / "empty.nii")
    os.mkfifo(tmp_path / "pipe.nii")  # reading it would wait for ever
    for irregular in (tmp_path, tmp_path / "pipe.nii", Path("/dev/zero")):
        with pytest.raises(ScanError, match="expected a regular file, found"):
            read_bytes(irregular)


def test_trailing_axes_of_one_both_versions_and_both_byte_orders_are_read() -> None:
    values = brain_values(0)
    swapped = nib.Nifti1Image(values, AFFINE, nib.Nifti1Header(endianness=">"))
    for written in (
        content(values[..., None]),
        nib.Nifti2Image(values, AFFINE).to_bytes(),
        swapped.to_bytes(),
        gzip.compress(content(values)),
    ):
        image = parse(written)
        np.testing.assert_array_equal(image.values(), values)
        np.testing.assert_allclose(image.affine, AFFINE)


def test_the_stored_scale_is_applied_and_either_code_places_the_scan() -> None:
    image = nib.Nifti1Image(brain_values(0), AFFINE)
    image.header.set_slope_inter(0.5, 10)
    scaled = parse(image.to_bytes())
    np.testing.assert_allclose(
        scaled.values(), nib.Nifti1Image.from_bytes(image.to_bytes()).get_fdata()
    )
    for qform, sform, oriented in ((1, 0, True), (0, 4, True), (0, 0, False)):
        image = nib.Nifti1Image(brain_values(0), AFFINE)
        image.set_qform(AFFINE, qform)
        image.set_sform(AFFINE, sform)
        assert parse(image.to_bytes()).oriented is oriented


@pytest.mark.parametrize("slope", [math.inf, -math.inf])
def test_an_infinite_scale_is_refused(slope: float) -> None:
    raw = bytearray(nib.Nifti1Image(brain_values(0), AFFINE).to_bytes())
    struct.pack_into("<f", raw, 112, slope)  # scl_slope
    with pytest.raises(ScanError, match="scale is not finite"):
        parse(bytes(raw))
    struct.pack_into("<f", raw, 112, math.nan)  # which means none
    assert parse(bytes(raw)).slope == 1
