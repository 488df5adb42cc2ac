from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import torchio as tio

from preprocessing.brain import find_brain, stripped_brain
from preprocessing.nifti import Image, ScanError, parse, read_bytes
from preprocessing.transforms import preprocess_volume, to_grid
from stfmri.study.config import PreprocessingConfig
from tests.preprocessing.conftest import brain_values, write_scan
from tests.preprocessing.reference import reference_volume

# float16 holds values up to 1 to within half of 2⁻¹¹.
ROUNDING = 2.5e-4


def image_of(values: np.ndarray, affine: np.ndarray) -> Image:
    return Image(data=values, affine=affine)


def plain_affine(shape: tuple[int, ...], spacing_mm: float = 4.0) -> np.ndarray:
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = -spacing_mm * (np.array(shape) - 1) / 2
    return affine


REAL = [
    ("ixi_hh/IXI-T1/IXI012-HH-1211-T1.nii.gz", "ixi_hh/masks/IXI012-HH-1211-labels.nii.gz"),
    ("glioma/TCGA-DU-7294_LGG_T1ce_stripped_SRI24.nii.gz", None),
    ("glioma/UPENN-GBM-00006_GBM_T1ce_stripped_SRI24.nii.gz", None),
    ("glioma/UPENN-GBM-00006_GBM_T1_stripped_SRI24.nii.gz", None),
    ("heads/colin27_ch2_T1head_1mm.nii.gz", "heads/colin27_ch2bet_brain_1mm.nii.gz"),
]


@pytest.mark.parametrize(
    ("scan", "mask", "spacing_mm"),
    [*((*names, 2.0) for names in REAL), (*REAL[0], 3.0), (*REAL[-1], 3.0)],
)
def test_a_real_volume_equals_nibabel_numpy_and_scipy(
    real_data: Path, tmp_path: Path, scan: str, mask: str | None, spacing_mm: float
) -> None:
    config = PreprocessingConfig(spacing_mm=spacing_mm)
    given = real_data / mask if mask else None
    volume, affine = preprocess_volume(real_data / scan, given, True, config, tmp_path)
    image = parse(read_bytes(real_data / scan))
    brain = find_brain(image, "", given, True, "deepbet", tmp_path)
    expected, inside = reference_volume(real_data / scan, brain, affine, config.shape)
    assert volume.shape == (1, *config.shape)
    assert volume.dtype == np.float16
    np.testing.assert_allclose(volume[0][inside], expected[inside], atol=ROUNDING)
    assert inside.sum() * spacing_mm**3 > 1e6  # mm³: most of the brain was compared
    assert volume.min() == 0
    assert volume.max() == 1


@pytest.mark.parametrize("shape", [(44, 52, 44), (43, 51, 45)])
def test_the_chain_equals_a_plain_torchio_pipeline_on_the_whole_scan(
    shape: tuple[int, int, int],
) -> None:
    values = np.zeros(shape, np.int16)
    part = brain_values(0)[: shape[0], : shape[1], : shape[2]]
    values[: part.shape[0], : part.shape[1], : part.shape[2]] = part
    affine = plain_affine(shape)
    config = PreprocessingConfig(spacing_mm=5)
    volume, stored_affine = to_grid(image_of(values, affine), values > 0, config)
    subject = tio.Subject(
        scan=tio.ScalarImage(
            tensor=torch.from_numpy(values[None].astype(np.float32)), affine=affine
        ),
        brain=tio.LabelMap(
            tensor=torch.from_numpy((values[None] > 0).astype(np.float32)), affine=affine
        ),
    )
    plain = tio.Compose(
        [
            tio.ToCanonical(),
            tio.RescaleIntensity((0, 1), percentiles=(0.5, 99.5), masking_method="brain"),
            tio.Mask("brain"),
            tio.Resample(5, label_interpolation="linear"),
            tio.Lambda(lambda mask: (mask > 0.499).float(), types_to_apply=[tio.LABEL]),
            tio.CropOrPad(config.shape[::-1], mask_name="brain"),
            tio.Mask("brain"),
        ]
    )(subject)
    np.testing.assert_allclose(volume[0], plain.scan.numpy()[0].transpose(2, 1, 0), atol=ROUNDING)
    np.testing.assert_allclose(stored_affine, plain.scan.affine, atol=1e-4)


AXES = [
    "".join(letters)
    for order in itertools.permutations(("LR", "PA", "IS"))
    for letters in itertools.product(*order)
]


@pytest.mark.parametrize("axes", AXES)
def test_the_volume_does_not_depend_on_the_order_of_the_source_axes(axes: str) -> None:
    values = brain_values(0)
    config = PreprocessingConfig(spacing_mm=8)
    expected, expected_affine = to_grid(
        image_of(values, plain_affine(values.shape)), values > 0, config
    )
    canonical = nib.Nifti1Image(values, plain_affine(values.shape))
    turned = canonical.as_reoriented(
        nib.orientations.ornt_transform(
            nib.io_orientation(canonical.affine), nib.orientations.axcodes2ornt(axes)
        )
    )
    assert "".join(nib.aff2axcodes(turned.affine)) == axes
    data = np.asarray(turned.dataobj)
    volume, affine = to_grid(image_of(data, turned.affine), data > 0, config)
    np.testing.assert_array_equal(volume, expected)
    np.testing.assert_allclose(affine, expected_affine, atol=1e-6)


def test_stored_axes_run_superior_anterior_right_and_the_affine_finds_a_landmark() -> None:
    values = brain_values(0)
    values[30, 20, 25] = 5000  # the brightest voxel, right, posterior and superior of the middle
    source = plain_affine(values.shape)
    config = PreprocessingConfig(spacing_mm=4, percentiles=(0, 100))
    volume, affine = to_grid(image_of(values, source), values > 0, config)
    depth, height, width = np.unravel_index(volume[0].argmax(), volume[0].shape)
    assert np.allclose(
        nib.affines.apply_affine(affine, (width, height, depth)),
        nib.affines.apply_affine(source, (30, 20, 25)),
    )
    assert nib.aff2axcodes(affine) == ("R", "A", "S")


def test_the_brain_is_centred_wherever_it_lies_and_nothing_of_it_is_cut() -> None:
    values = brain_values(0)
    config = PreprocessingConfig(spacing_mm=4)
    expected, _ = to_grid(image_of(values, plain_affine(values.shape)), values > 0, config)
    wide = np.zeros((80, 90, 70), np.int16)
    wide[30:74, 33:85, 3:47] = values
    moved, _ = to_grid(image_of(wide, plain_affine(wide.shape)), wide > 0, config)
    np.testing.assert_array_equal(moved, expected)
    found = np.argwhere(expected[0] > 0)
    middle = (found.min(axis=0) + found.max(axis=0)) / 2
    assert np.abs(middle - (np.array(config.shape) - 1) / 2).max() <= 1
    # All but the voxels at or under the 0.5th percentile, which become 0.
    assert np.count_nonzero(expected) >= 0.99 * np.count_nonzero(values)


def test_what_lies_outside_the_brain_never_shows() -> None:
    values = brain_values(0)
    brain = values > 0
    config = PreprocessingConfig(spacing_mm=5)
    affine = plain_affine(values.shape)
    alone, _ = to_grid(image_of(values, affine), brain, config)
    skull = np.where(brain, values, 30_000).astype(np.int16)
    headed, _ = to_grid(image_of(skull, affine), brain, config)
    np.testing.assert_array_equal(headed, alone)


def test_a_shift_and_scale_of_intensities_changes_nothing() -> None:
    values = brain_values(0).astype(np.float32)
    brain = values > 0
    config = PreprocessingConfig(spacing_mm=4)
    affine = plain_affine(values.shape)
    plain, _ = to_grid(image_of(values, affine), brain, config)
    other, _ = to_grid(Image(values, affine, slope=3.0, inter=-500.0), brain, config)
    np.testing.assert_allclose(other.astype(float), plain.astype(float), atol=1e-3)


def test_a_brain_larger_than_the_field_is_refused_with_both_sizes() -> None:
    values = brain_values(0, radii_mm=(65, 85, 84))
    with pytest.raises(ScanError, match=r"spans 1\d\d×1\d\d×168 mm .* field of 240×240×156 mm"):
        to_grid(
            image_of(values, plain_affine(values.shape)),
            values > 0,
            PreprocessingConfig(spacing_mm=4),
        )


def test_a_brain_of_one_intensity_is_refused() -> None:
    brain = brain_values(0) > 0
    with pytest.raises(ScanError, match="the brain is constant"):
        to_grid(
            image_of(brain.astype(np.int16), plain_affine(brain.shape)),
            brain,
            PreprocessingConfig(),
        )


def test_values_below_zero_belong_to_a_stripped_brain(real_data: Path) -> None:
    path = real_data / "glioma/TCGA-DU-7294_LGG_T1ce_stripped_SRI24.nii.gz"
    image = parse(read_bytes(path))
    brain = stripped_brain(image)
    assert (image.data < 0).sum() > 1000
    assert brain[image.data < 0].all()
    assert not brain[0].any()


def test_an_oblique_scan_keeps_its_place(tmp_path: Path) -> None:
    values = brain_values(0)
    angle = np.deg2rad(12)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    path = tmp_path / "oblique.nii.gz"
    write_scan(path, values)
    affine = turn @ nib.load(path).affine
    nib.save(nib.Nifti1Image(values, affine), path)
    config = PreprocessingConfig(spacing_mm=3)
    volume, stored = preprocess_volume(path, None, True, config, tmp_path)
    expected, inside = reference_volume(path, values > 0, stored, config.shape)
    np.testing.assert_allclose(volume[0][inside], expected[inside], atol=ROUNDING)
    np.testing.assert_allclose(stored[:3, :3] / 3, turn[:3, :3], atol=1e-6)
