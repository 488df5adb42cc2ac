from __future__ import annotations

from functools import cache

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from preprocessing.chain.geometry import Matrix, inverse
from preprocessing.chain.registration import (
    Alignment,
    align,
    normalised_mutual_information,
    same_grid,
)
from preprocessing.chain.template import align_to_mni, mni_template
from preprocessing.chain.transforms import resample
from preprocessing.nifti import Image
from tests.preprocessing.heads import grid, inside, native, rotation

PLACE = grid((72, 88, 72), (2.4, 2.4, 2.4))


@cache
def image(contrast: str, skull: bool, place: str = "reference") -> Image:
    moved = np.eye(4)
    where = PLACE
    if place == "moved":
        moved = MOVED
    if place == "elsewhere":
        moved, where = MOVED, grid((90, 96, 42), (1.9, 2.1, 4.5), rotation((3, -4, 5)))
    made = native(contrast, *where, moved=moved, skull=skull)
    return Image(np.asarray(made.dataobj), made.affine)


MOVED = np.eye(4)
MOVED[:3, :3], MOVED[:3, 3] = rotation((6, -4, 8)), (9, -7, 14)


def brain() -> np.ndarray:
    return inside(points())


def points() -> np.ndarray:
    shape, affine = PLACE
    return apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))


def error_mm(found: Matrix, true: Matrix) -> float:
    """The mean distance in the brain between where two maps take it."""
    inner = points()[brain()]
    return float(
        np.linalg.norm(apply_affine(found, inner) - apply_affine(true, inner), axis=1).mean()
    )


def aligned(contrast: Image, skull: bool) -> Alignment:
    return align(image("t1", skull), brain(), contrast, "t2", stripped=not skull)


@pytest.mark.parametrize("skull", [True, False])
def test_a_known_rigid_movement_of_another_contrast_is_found(skull: bool) -> None:
    found = aligned(image("t2", skull, "elsewhere"), skull)
    assert error_mm(np.eye(4), MOVED) > 15
    assert error_mm(found.matrix, MOVED) < 0.5
    assert not found.on_grid
    assert found.facts["shift_mm_t2"] == pytest.approx(error_mm(np.eye(4), MOVED), abs=1)
    assert found.facts["nmi_after_t2"] > found.facts["nmi_before_t2"] + 0.05
    assert found.facts["kept_header_t2"] == 0
    np.testing.assert_allclose(found.matrix[:3, :3] @ found.matrix[:3, :3].T, np.eye(3), atol=1e-9)


def test_the_same_images_are_registered_to_the_last_digit_alike_however_their_axes_run() -> None:
    contrast = image("t2", False, "elsewhere")
    first = aligned(contrast, False)
    np.testing.assert_array_equal(aligned(contrast, False).matrix, first.matrix)
    scan = nib.Nifti1Image(contrast.data, contrast.affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(scan.affine), nib.orientations.axcodes2ornt("PIR")
    )
    turned = nib.Nifti1Image.from_bytes(scan.as_reoriented(turn).to_bytes())
    other = aligned(Image(np.asarray(turned.dataobj), turned.affine), False)
    np.testing.assert_array_equal(other.matrix, first.matrix)


def test_headers_that_do_not_overlap_are_overcome_from_the_centres_of_mass() -> None:
    far = image("t2", True, "elsewhere")
    away = np.eye(4)
    away[:3, 3] = 150, -220, 180
    found = aligned(Image(far.data, away @ far.affine), True)
    assert error_mm(found.matrix, away @ MOVED) < 0.5
    assert found.facts["far_apart_t2"] > 250


def test_stripped_contrasts_on_one_grid_are_not_registered() -> None:
    found = aligned(image("t2", False, "moved"), False)
    assert found.on_grid
    assert found.facts == {}
    np.testing.assert_array_equal(found.matrix, np.eye(4))


def test_a_head_that_moved_between_two_native_contrasts_on_one_grid_is_followed() -> None:
    found = aligned(image("t2", True, "moved"), True)
    assert not found.on_grid
    assert error_mm(found.matrix, MOVED) < 0.5


def test_a_head_that_lay_still_keeps_its_grid() -> None:
    still = aligned(image("t2", True), True)
    assert still.on_grid
    assert still.facts["kept_header_t2"] == 1
    assert still.facts["shift_mm_t2"] == 0


def test_a_registration_that_makes_it_worse_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    worse = np.eye(4)
    worse[:3, 3] = 40, 0, 0
    monkeypatch.setattr("preprocessing.chain.registration._registered", lambda *_: worse)
    shape, affine = grid((72, 88, 71), (2.4, 2.4, 2.4))
    scan = native("t2", shape, affine)
    found = aligned(Image(np.asarray(scan.dataobj), affine), True)
    np.testing.assert_array_equal(found.matrix, np.eye(4))
    assert found.facts["kept_header_t2"] == 1
    assert found.facts["nmi_after_t2"] == found.facts["nmi_before_t2"] > 1.1


def test_grids_are_the_same_to_a_hundredth_of_a_voxel() -> None:
    one = image("t1", True)
    for shift, same in ((0.01, True), (0.05, False)):
        moved = one.affine.copy()
        moved[1, 3] += shift
        assert same_grid(one, Image(one.data, moved)) is same
    assert not same_grid(one, Image(one.data[1:], one.affine))


def test_a_small_field_within_a_large_one_is_not_far_apart() -> None:
    slab = Image(image("t2", True).data[:, :, 20:50], image("t2", True).affine.copy())
    slab.affine[:3, 3] = apply_affine(slab.affine, [0, 0, 20])
    assert "far_apart_t2" not in aligned(slab, False).facts


def test_mutual_information_is_1_of_unrelated_and_2_of_equal_values() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 100_000)).astype(np.float32)
    assert normalised_mutual_information(one, one) == pytest.approx(2)
    assert normalised_mutual_information(one, -3 * one) == pytest.approx(2)
    assert normalised_mutual_information(one, other) == pytest.approx(1, abs=0.01)
    assert normalised_mutual_information(one, np.zeros_like(one)) == 1


@pytest.mark.parametrize(
    ("degrees", "shift_mm", "scales"),
    [((8, -5, 10), (15, -20, 25), (1.1, 1.05, 0.95)), ((-15, 6, -8), (-30, 10, 0), (0.9,) * 3)],
)
def test_a_turned_shifted_and_scaled_template_is_brought_back(
    degrees: tuple[float, float, float],
    shift_mm: tuple[float, float, float],
    scales: tuple[float, float, float],
) -> None:
    template = mni_template()
    true = np.eye(4)
    true[:3, :3], true[:3, 3] = rotation(degrees) @ np.diag(scales), shift_mm
    shape = (90, 95, 90)
    affine = np.diag([2.5, 2.5, 2.5, 1])
    affine[:3, 3] = apply_affine(true, template.centre) - 2.5 * (np.array(shape) - 1) / 2
    back = inverse(true @ template.image.affine) @ affine
    scan, share = (
        resample(np.ascontiguousarray(values.T.astype(np.float32)), back, shape).T
        for values in (template.image.data, template.brain)
    )
    found, facts = align_to_mni(Image(scan, affine), share > 0.5)
    inner = apply_affine(template.image.affine, np.argwhere(template.brain)[::500])
    gaps = np.linalg.norm(apply_affine(found, inner) - apply_affine(true, inner), axis=1)
    assert gaps.max() < 2
    assert facts["mni_dice"] > 0.98
    assert facts["mni_scale"] == pytest.approx(1 / np.prod(scales), rel=0.01)
