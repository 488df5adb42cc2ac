"""Signal and contrast to noise, against phantoms whose noise is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from preprocessing.qc.noise import dominant_classes, noise_sd, quality

WHITE, GREY, FLUID = 1000.0, 700.0, 200.0
SHAPE = (90, 100, 80)


def phantom() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A smooth shading over white matter in grey matter, with some fluid in the middle."""
    grid = np.indices(SHAPE, np.float32)
    middle = (np.array(SHAPE, np.float32) - 1) / 2
    distance = np.sqrt(sum(((grid[a] - middle[a]) / (0.45 * SHAPE[a])) ** 2 for a in range(3)))
    tissue = np.where(distance < 0.2, FLUID, np.where(distance < 0.8, WHITE, GREY))
    shading = 1 + 0.02 * np.sin(grid[0] / 20)
    return (tissue * shading).astype(np.float32), distance <= 1


def noisy(sd: float, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    values, brain = phantom()
    drawn = np.random.default_rng(seed).normal(0, sd, SHAPE).astype(np.float32)
    return np.where(brain, values, 0) + drawn, brain


@pytest.mark.parametrize("sd", [10.0, 30.0, 60.0])
def test_noise_of_a_known_spread_is_found(sd: float) -> None:
    values, brain = noisy(sd)
    assert noise_sd(values, brain) == pytest.approx(sd, rel=0.02)
    found = quality(values, brain, 0.0)
    clean = phantom()[0][brain]
    assert found.snr == pytest.approx(clean.mean() / sd, rel=0.05)
    assert found.cnr == pytest.approx((WHITE - GREY) / sd, rel=0.1)


def test_edges_and_shading_alone_are_hardly_noise() -> None:
    assert noise_sd(*phantom()) < 1.0


def test_ratios_do_not_depend_on_scale_offset_or_orientation() -> None:
    values, brain = noisy(30)
    found = quality(values, brain, 0.0)
    scaled = quality(0.01 * values + 50, brain, 50.0)
    flipped = quality(values[::-1], brain[::-1], 0.0)
    turned = quality(values.transpose(2, 0, 1), brain.transpose(2, 0, 1), 0.0)
    for other in (scaled, flipped, turned):
        assert other.snr == pytest.approx(found.snr, rel=0.03)
        assert other.cnr == pytest.approx(found.cnr, rel=0.03)


def test_the_two_largest_classes_are_the_phantoms_tissues() -> None:
    values, brain = noisy(20)
    inside = values[brain]
    darker, brighter = dominant_classes(inside, float(inside.min()), float(inside.max()))
    assert darker == pytest.approx(GREY, rel=0.03)
    assert brighter == pytest.approx(WHITE, rel=0.03)


def test_without_noise_or_brain_there_is_no_ratio() -> None:
    flat = np.ones(SHAPE, np.float32)
    assert quality(flat, flat > 0, 0.0).snr is None
    few = np.zeros(SHAPE, bool)
    few[:5, :5, :5] = True
    assert quality(noisy(20)[0], few, 0.0).cnr is None
