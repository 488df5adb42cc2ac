from __future__ import annotations

import numpy as np
import torch
import torchio as tio

from stfmri.learning import augment, intensity
from stfmri.study.config.training import AugmentConfig

STRONG = AugmentConfig(
    kind="none", intensity_probability=1.0, log_gamma=0.5, shading=0.4, noise=0.1
)


def volumes(channels: int = 1) -> torch.Tensor:
    """Two volumes (2, C, 8, 10, 9) in [0, 1] whose first slices lie outside the brain."""
    made = torch.rand((2, channels, 8, 10, 9), generator=torch.Generator().manual_seed(3))
    made[:, :, :2] = 0
    return made


def test_contrast_and_shading_equal_torchio() -> None:
    quiet = AugmentConfig(intensity_probability=1.0, log_gamma=0.5, shading=0.4)
    parameters = intensity.draw(quiet, (1, 2, 3), [0, 7], channels=1)
    parameters.noise[:] = 0
    volume = volumes()
    ours = intensity.apply(volume, parameters)
    powers = range(intensity.ORDER + 1)
    within = [
        (first, second, third)
        for first in powers
        for second in powers
        for third in powers
        if first + second + third <= intensity.ORDER
    ]
    for number in range(2):
        coefficients = [float(parameters.shading[number, 0][power]) for power in within]
        changed = tio.Compose(
            [
                tio.Gamma(float(parameters.gamma[number, 0])),
                tio.BiasField(coefficients=coefficients, order=intensity.ORDER),
            ]
        )(tio.ScalarImage(tensor=volume[number]))
        torch.testing.assert_close(ours[number], changed.data.float(), rtol=1e-4, atol=1e-5)
    assert (ours - volume).abs().max() > 0.1


def test_noise_has_the_drawn_strength_and_stays_inside_the_brain() -> None:
    parameters = intensity.draw(STRONG, (0, 0, 0), [0, 1], channels=2)
    volume = volumes(channels=2)
    noisy = intensity.apply(volume, parameters)
    parameters.noise[:] *= 0
    added = noisy - intensity.apply(volume, parameters)
    drawn = intensity.draw(STRONG, (0, 0, 0), [0, 1], channels=2).noise
    inside = added[:, :, 2:].flatten(2)
    np.testing.assert_allclose(inside.std(dim=2), drawn, rtol=0.1)
    assert not noisy[:, :, :2].any()


def test_a_sample_changes_alike_in_any_batch_and_unlike_in_another_epoch() -> None:
    volume = volumes()
    both = augment.augmented(volume, STRONG, (5, 1, 2), [3, 4])
    alone = augment.augmented(volume[1:], STRONG, (5, 1, 2), [4])
    later = augment.augmented(volume[1:], STRONG, (5, 1, 3), [4])
    torch.testing.assert_close(both[1:], alone)
    assert (alone - later).abs().max() > 0.01


def test_volumes_that_the_draw_leaves_out_stay_as_they_are() -> None:
    seldom = AugmentConfig(kind="none", intensity_probability=0.5)
    samples = list(range(40))
    volume = volumes()[:1].expand(40, -1, -1, -1, -1)
    changed = augment.augmented(volume, seldom, (0, 0, 0), samples)
    untouched = ((changed - volume).abs().amax(dim=(1, 2, 3, 4)) < 1e-6).sum()
    assert 10 < untouched < 30
