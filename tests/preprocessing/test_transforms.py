from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import torchio as tio
from scipy import ndimage

from preprocessing.brain import find_brain
from preprocessing.chain.transforms import low_pass, resample, sigma_voxels
from preprocessing.nifti import Image, ScanError, parse, read_bytes
from stfmri.study.config.data import PreprocessingConfig
from tests.preprocessing.conftest import brain_values
from tests.preprocessing.heads import to_grid
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
    ("scan", "mask", "spacing_mm", "antialias"),
    [
        *((*names, 2.0, True) for names in REAL),
        (*REAL[0], 3.0, True),
        (*REAL[1], 2.0, False),
        (*REAL[-1], 3.0, True),
    ],
)
def test_a_real_volume_equals_nibabel_numpy_and_scipy(
    real_data: Path,
    tmp_path: Path,
    scan: str,
    mask: str | None,
    spacing_mm: float,
    antialias: bool,
) -> None:
    config = PreprocessingConfig(spacing_mm=spacing_mm, antialias=antialias)
    image = parse(read_bytes(real_data / scan))
    given = real_data / mask if mask else None
    brain = find_brain(image, "", given, True, "deepbet", tmp_path)
    volume, affine = to_grid(image, brain, config)
    expected, inside = reference_volume(real_data / scan, brain, affine, config.shape, antialias)
    assert volume.shape == (1, *config.shape)
    assert volume.dtype == np.float16
    np.testing.assert_allclose(volume[0][inside], expected[inside], atol=ROUNDING)
    assert inside.sum() * spacing_mm**3 > 1e6  # mm³: most of the brain was compared
    assert volume.min() == 0
    assert volume.max() > 0.95


@pytest.mark.parametrize("shape", [(44, 52, 44), (43, 51, 45)])
def test_the_chain_equals_a_plain_torchio_pipeline_on_the_whole_scan(
    shape: tuple[int, int, int],
) -> None:
    values = np.zeros(shape, np.int16)
    part = brain_values(0)[: shape[0], : shape[1], : shape[2]]
    values[: part.shape[0], : part.shape[1], : part.shape[2]] = part
    affine = plain_affine(shape)
    config = PreprocessingConfig(spacing_mm=5, antialias=False)
    volume, stored_affine = to_grid(image_of(values, affine), values > 0, config)
    expected = plain_torchio(values, affine, config, stored_affine)
    np.testing.assert_allclose(volume[0], expected, atol=ROUNDING)


def test_the_low_pass_is_torchios(real_data: Path) -> None:
    # TorchIO's recursive filter only approximates so narrow a Gaussian; without any low-pass the
    # two are three times as far apart.
    image = parse(read_bytes(real_data / REAL[2][0]))
    config = PreprocessingConfig(spacing_mm=3)
    volume, affine = to_grid(image, image.data > 0, config)
    expected = plain_torchio(image.data, image.affine, config, affine)
    inner = ndimage.binary_erosion(expected > 0, iterations=2)
    unfiltered, _ = to_grid(
        image, image.data > 0, PreprocessingConfig(spacing_mm=3, antialias=False)
    )
    close, far = (np.abs(each[0] - expected)[inner].mean() for each in (volume, unfiltered))
    assert close < 4e-3
    assert far > 3 * close


def plain_torchio(
    values: np.ndarray, affine: np.ndarray, config: PreprocessingConfig, stored: np.ndarray
) -> np.ndarray:
    """TorchIO's own steps on the whole scan, (D, H, W); the mean over the brain's voxels."""
    brain = torch.from_numpy((values[None] > 0).astype(np.float32))
    subject = tio.Subject(
        scan=tio.ScalarImage(
            tensor=torch.from_numpy(values[None].astype(np.float32)), affine=affine
        ),
        brain=tio.LabelMap(tensor=brain, affine=affine),
        share=tio.ScalarImage(tensor=brain, affine=affine),
    )
    scaled = tio.Compose(
        [
            tio.ToCanonical(),
            tio.RescaleIntensity(
                (0, 1), percentiles=(0.5, 99.5), masking_method="brain", include=["scan"]
            ),
            tio.Mask("brain", include=["scan"]),
            tio.Resample((config.shape[::-1], stored), antialias=config.antialias),
        ]
    )(subject)
    summed, share = (scaled[name].numpy()[0].transpose(2, 1, 0) for name in ("scan", "share"))
    return np.where(share > 0.499, summed / np.maximum(share, 0.499), 0)


@pytest.mark.parametrize("step", [1.5, 2.0, 3.7])
def test_the_low_pass_widens_a_voxel_to_the_coarser_spacing(step: float) -> None:
    places = np.arange(81) - 40
    wide = np.exp(-(places**2) / 50).astype(np.float32)[None, None]
    after = low_pass(wide, (sigma_voxels(step), 0, 0))
    before, after = ((v[0, 0] * places**2).sum() / v.sum() for v in (wide, after))
    # Full width at half the height of a Gaussian, by its standard deviation: variances add.
    width = 2.35482 * np.sqrt(after - before + 1 / 2.35482**2)
    assert width == pytest.approx(step, rel=0.07)  # narrow kernels are coarsely sampled
    assert sigma_voxels(0.7) == 0


def test_resampling_equals_scipys() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(9, 11, 13)).astype(np.float32)
    to_source = np.eye(4)
    to_source[:3, :3] = np.diag([0.7, 0.8, 0.9]) + rng.normal(0, 0.1, (3, 3))
    to_source[:3, 3] = 1.5, 1.2, 0.9
    found = resample(np.ascontiguousarray(values.T), to_source, (6, 7, 8))
    indices = np.stack(np.meshgrid(*map(np.arange, (6, 7, 8)), indexing="ij"), -1)
    places = nib.affines.apply_affine(to_source, indices)
    expected = ndimage.map_coordinates(values, np.moveaxis(places, -1, 0), order=1)
    inner = (places > 0).all(-1) & (places < np.array(values.shape) - 1).all(-1)
    assert inner.sum() > 100
    np.testing.assert_allclose(found.T[inner], expected[inner], atol=1e-5)


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
    np.testing.assert_allclose(volume.astype(float), expected.astype(float), atol=5e-4)
    np.testing.assert_allclose(affine, expected_affine, atol=1e-4)


def test_stored_axes_run_superior_anterior_right_and_the_affine_finds_a_landmark() -> None:
    values = brain_values(0)
    values[30, 20, 25] = 5000  # the brightest voxel, right, posterior and superior of the middle
    source = plain_affine(values.shape)
    # An even number of voxels each way, as the scan has: then both grids have the same places.
    config = PreprocessingConfig(
        spacing_mm=4, field_mm=(240, 240, 160), percentiles=(0, 100), antialias=False
    )
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
    np.testing.assert_allclose(moved.astype(float), expected.astype(float), atol=5e-4)
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
    with pytest.raises(ScanError, match=r"spans 1\d\d×1\d\d×172 mm .* field of 240×240×156 mm"):
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


def test_the_edge_of_the_brain_is_as_bright_as_its_middle() -> None:
    brain = brain_values(0) > 0
    values = np.where(brain, 500, 0).astype(np.int16)
    values[20:24, 20:30, 20:24] = 900  # so that the brain is not constant
    values[20:24, 30:40, 20:24] = 100
    affine = plain_affine(values.shape)
    for antialias in (True, False):
        config = PreprocessingConfig(spacing_mm=6, percentiles=(0, 100), antialias=antialias)
        volume, _ = to_grid(image_of(values, affine), brain, config)
        inside = ndimage.binary_fill_holes(volume[0] > 0)
        edge = inside & ~ndimage.binary_erosion(inside)
        np.testing.assert_allclose(volume[0][edge], 0.5, atol=1e-3)


def test_the_centre_of_mass_lies_between_voxels_and_the_axes_are_the_worlds() -> None:
    values = brain_values(0)
    values[:12] = 0  # so that the centre of mass is no symmetrical place
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    source = turn @ plain_affine(values.shape)
    _, affine = to_grid(image_of(values, source), values > 0, PreprocessingConfig(spacing_mm=3))
    centre = nib.affines.apply_affine(source, np.argwhere(values > 0).mean(axis=0))
    index = nib.affines.apply_affine(np.linalg.inv(affine), centre)
    np.testing.assert_allclose(index % 1, 0.5, atol=1e-3)  # the field has even numbers of voxels
    np.testing.assert_allclose(affine[:3, :3], 3 * np.eye(3), atol=1e-9)


def test_an_oblique_scan_keeps_its_place(tmp_path: Path) -> None:
    values = brain_values(0)
    angle = np.deg2rad(12)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    path = tmp_path / "oblique.nii.gz"
    affine = turn @ plain_affine(values.shape)
    nib.save(nib.Nifti1Image(values, affine), path)
    config = PreprocessingConfig(spacing_mm=3)
    volume, stored = to_grid(image_of(values, affine), values > 0, config)
    expected, inside = reference_volume(path, values > 0, stored, config.shape)
    np.testing.assert_allclose(volume[0][inside], expected[inside], atol=ROUNDING)
    np.testing.assert_allclose(stored[:3, :3], 3 * np.eye(3), atol=1e-9)
