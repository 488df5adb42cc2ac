from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from preprocessing.brain import large_pieces, stripped_brain
from preprocessing.nifti import Image, parse, read_bytes
from tests.preprocessing.conftest import brain_values

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def brain_of(values: np.ndarray) -> np.ndarray:
    return stripped_brain(Image(values, AFFINE))


@pytest.mark.parametrize("background", [0.0, -7.0, 40.0])
def test_faint_noise_in_the_background_is_not_brain(background: float) -> None:
    values = brain_values(0).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 1e-6, values.shape)
    clean = np.where(values > 0, values, background)
    np.testing.assert_array_equal(brain_of(clean + noise), values > 0)
    np.testing.assert_array_equal(brain_of(clean), values > 0)


def test_the_brain_may_be_below_its_background_and_unsigned() -> None:
    values = brain_values(0)
    inverted = np.where(values > 0, 1000 - values, 1000).astype(np.uint16)
    np.testing.assert_array_equal(brain_of(inverted), values > 0)
    np.testing.assert_array_equal(brain_of(-values), values > 0)


def test_a_gap_between_the_hemispheres_loses_neither() -> None:
    values = brain_values(0)
    values[21:23] = 0
    np.testing.assert_array_equal(brain_of(values), values > 0)


def test_a_cerebellum_apart_is_kept_and_an_eye_is_not() -> None:
    values = brain_values(0)
    cerebellum = np.zeros(values.shape, bool)
    cerebellum[15:29, :10, 4:14] = True  # 7 % of the brain, two voxels from it
    values[15:29, :12, 4:16] = 0
    values[cerebellum] = 500
    brain = values > 0
    values[20:24, 48:51, 2:6] = 500
    np.testing.assert_array_equal(brain_of(values), brain)


def test_holes_are_filled_and_what_opens_to_the_outside_is_not() -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[4:15, 4:15, 4:15] = True
    whole = mask.copy()
    mask[9, 9, 9] = False
    whole[5, 5, 4:15] = mask[5, 5, 4:15] = False
    np.testing.assert_array_equal(large_pieces(mask), whole)
    assert not large_pieces(np.zeros((3, 3, 3), bool)).any()


def test_values_below_zero_belong_to_a_stripped_brain(real_data: Path) -> None:
    path = real_data / "glioma/TCGA-DU-7294_LGG_T1ce_stripped_SRI24.nii.gz"
    image = parse(read_bytes(path))
    brain = stripped_brain(image)
    assert (image.data < 0).sum() > 1000
    assert brain[image.data < 0].all()
    assert not brain[0].any()
