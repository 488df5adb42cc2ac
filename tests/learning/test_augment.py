from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import torchio as tio
from torch.nn import functional

from stfmri.learning import augment
from stfmri.learning.torchio_augment import HeavyAugmentation
from stfmri.study.config.training import AugmentConfig


@pytest.mark.parametrize(
    ("scale", "degrees", "flip"),
    [
        ((1.2, 0.9, 1.0), (0.0, 0.0, 0.0), False),
        ((1.0, 1.0, 1.0), (10.0, 0.0, 0.0), False),
        ((1.0, 1.0, 1.0), (0.0, -7.0, 9.0), True),
        ((0.93, 1.1, 1.17), (7.0, -9.0, 4.0), True),
    ],
)
def test_geometry_equals_torchio_on_a_real_scan(
    real_data: Path,
    scale: tuple[float, float, float],
    degrees: tuple[float, float, float],
    flip: bool,
) -> None:
    image = nib.as_closest_canonical(
        nib.load(real_data / "ixi_hh" / "IXI-T1" / "IXI012-HH-1211-T1.nii.gz")
    )
    voxels = np.asarray(image.dataobj, dtype=np.float32)
    voxels /= voxels.max()
    subject = tio.ScalarImage(tensor=voxels[None], affine=np.diag([2.0, 2, 2, 1]))
    moved = tio.Affine(scales=scale, degrees=degrees, translation=(0, 0, 0))(subject)
    if flip:
        moved = tio.Flip(axes=(0,))(moved)
    expected_DHW = moved.data[0].permute(2, 1, 0)
    parameters = augment.AffineFlip(np.array([scale]), np.array([degrees]), np.array([flip]))
    volume_BCDHW = torch.from_numpy(voxels).permute(2, 1, 0)[None, None]
    ours_DHW = augment.apply(volume_BCDHW, parameters)[0, 0]
    # Beyond the image's edge both give 0; within a voxel of it they blend differently.
    interior = (slice(20, -20),) * 3
    assert (ours_DHW - expected_DHW)[interior].abs().max() < 1e-3
    # The comparison means something only if the transform moved the picture at all.
    assert (ours_DHW - volume_BCDHW[0, 0])[interior].abs().max() > 0.1


@pytest.mark.parametrize("shape", [(1, 1, 5, 6, 7), (3, 1, 9, 4, 5), (2, 1, 2, 4, 3)])
def test_volumes_are_sampled_where_pytorch_s_own_grid_would(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    batch = shape[0]
    scale, degrees = generator.uniform(0.9, 1.2, (batch, 3)), generator.uniform(-9, 9, (batch, 3))
    parameters = augment.AffineFlip(scale, degrees, np.arange(batch) % 2 == 1)
    volume = torch.rand(shape)
    half = np.maximum((np.array(shape[:1:-1]) - 1) / 2, 0.5)
    theta = augment._output_to_input(parameters) * half / half[:, None]
    theta_B34 = torch.cat([torch.from_numpy(theta), torch.zeros(batch, 3, 1)], dim=2).float()
    grid = functional.affine_grid(theta_B34, list(shape), align_corners=True)
    expected = functional.grid_sample(volume, grid, align_corners=True)
    assert (augment.apply(volume, parameters) - expected).abs().max() < 1e-5


def test_a_sample_gets_the_same_parameters_in_any_batch() -> None:
    together = augment.draw(AugmentConfig(), (0, 1, 2), [3, 4, 5])
    alone = augment.draw(AugmentConfig(), (0, 1, 2), [4])
    np.testing.assert_array_equal(together.scale[1], alone.scale[0])
    np.testing.assert_array_equal(together.degrees[1], alone.degrees[0])
    other_epoch = augment.draw(AugmentConfig(), (0, 1, 3), [4])
    assert not np.array_equal(other_epoch.scale, alone.scale)


def test_drawn_parameters_fill_their_ranges_and_no_more() -> None:
    drawn = augment.draw(AugmentConfig(), (0,), list(range(2000)))
    assert 0.9 <= drawn.scale.min() < 0.91
    assert 1.19 < drawn.scale.max() <= 1.2
    assert -10 <= drawn.degrees.min() < -9.9
    assert 9.9 < drawn.degrees.max() <= 10
    assert abs(drawn.flip.mean() - 0.25) < 0.03


def test_some_volumes_are_left_as_they_are_where_the_affine_change_is_not_certain() -> None:
    choice = AugmentConfig(affine_probability=0.3, flip_probability=0)
    drawn = augment.draw(choice, (0,), list(range(2000)))
    changed = (drawn.scale != 1).all(axis=1)
    assert abs(changed.mean() - 0.3) < 0.04
    np.testing.assert_array_equal(drawn.degrees[~changed], 0)
    always = augment.draw(AugmentConfig(flip_probability=0), (0,), list(range(2000)))
    np.testing.assert_array_equal(drawn.scale[changed], always.scale[changed])
    volumes = torch.rand(40, 1, 6, 7, 8)
    parameters = augment.draw(choice, (0,), list(range(40)))
    moved = (augment.apply(volumes, parameters) - volumes).abs().amax(dim=(1, 2, 3, 4)).numpy()
    assert (moved[~changed[:40]] < 1e-4).all()
    assert (moved[changed[:40]] > 0.1).all()


def test_zero_stays_zero_and_no_value_is_made_up() -> None:
    volume = torch.zeros(1, 1, 8, 10, 12, dtype=torch.float16)
    volume[0, 0, 3:5, 4:6, 5:7] = 1
    moved = augment.apply(volume, augment.draw(AugmentConfig(), (0,), [0]))
    assert moved.dtype == torch.float32
    assert moved.min() == 0
    assert 0 < moved.max() <= 1


@pytest.mark.parametrize("kind", ["light", "heavy"])
def test_channels_of_a_volume_are_changed_alike(kind: str) -> None:
    channel = torch.rand(14, 18, 16).to(torch.float16)
    volume = torch.stack([channel, torch.zeros_like(channel), channel])
    if kind == "light":
        parameters = augment.draw(AugmentConfig(), (0,), [0, 1])
        changed = augment.apply(torch.stack([volume, volume]), parameters)
    else:
        certain = dict.fromkeys(("elastic", "motion", "spike", "ghosting"), 1.0)
        choice = AugmentConfig(kind, **{f"{key}_probability": p for key, p in certain.items()})
        changed = HeavyAugmentation(choice, spacing_mm=8, seed=(0, 0))(volume, 0, 3)[None]
    assert changed.shape[1:] == volume.shape
    assert torch.equal(changed[:, 0], changed[:, 2])
    assert not torch.equal(changed[0, 0], channel.float())
    assert not changed[:, 1].any()


def test_heavy_augmentation_repeats_itself_and_varies_by_epoch() -> None:
    volume = torch.rand(1, 20, 30, 30).to(torch.float16)
    heavy = HeavyAugmentation(AugmentConfig(kind="heavy"), spacing_mm=8, seed=(0, 0))
    first, again, later = heavy(volume, 0, 3), heavy(volume, 0, 3), heavy(volume, 1, 3)
    assert first.shape == volume.shape
    assert first.dtype == torch.float16
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
