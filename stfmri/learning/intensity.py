"""Random contrast, shading and noise, on whatever device the volumes are.

The formulas are TorchIO's `Gamma`, `BiasField` (third order) and `Noise`; what lies outside the
brain stays 0, as it is in test volumes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stfmri.learning.seeds import Use, generator, mix
from stfmri.study.config.training import AugmentConfig

ORDER = 3  # of the shading's polynomial, as TorchIO's default


@dataclass(frozen=True)
class Intensities:
    """Parameters of B volumes with C channels, the channels changed independently.

    Attributes:
        gamma: float64 (B, C), exponents.
        shading: float64 (B, C, 4, 4, 4), coefficients of the powers along (D, H, W), each axis
            running from -1 to 1; where the powers add up to more than the third they are 0.
        noise: float64 (B, C), standard deviations.
        seeds: of each volume's noise.
    """

    gamma: NDArray[np.float64]
    shading: NDArray[np.float64]
    noise: NDArray[np.float64]
    seeds: list[int]


def draw(
    augment: AugmentConfig, seed: tuple[int, ...], samples: list[int], channels: int
) -> Intensities:
    """Draw parameters; a sample's depend on `seed` (run, fold, epoch) and its own number alone."""
    gamma, shading, noise = [], [], []
    powers = np.arange(ORDER + 1)
    within = powers[:, None, None] + powers[:, None] + powers <= ORDER
    for sample in samples:
        drawn = generator(Use.INTENSITY, *seed, sample)
        share = float(drawn.random() < augment.intensity_probability)
        gamma.append(np.exp(share * augment.log_gamma * drawn.uniform(-1, 1, channels)))
        coefficients = drawn.uniform(-1, 1, (channels, *within.shape)) * within
        shading.append(share * augment.shading * coefficients)
        noise.append(share * augment.noise * drawn.random(channels))
    seeds = [mix(Use.NOISE, *seed, sample) for sample in samples]
    return Intensities(np.array(gamma), np.array(shading), np.array(noise), seeds)


def apply(volume_BCDHW: Tensor, parameters: Intensities) -> Tensor:
    """Change contrast, then shading, then add noise.

    Args:
        volume_BCDHW: values from 0 to about 1, 0 outside the brain.

    Returns:
        float32, of the same shape; values may pass 1.
    """
    volume = volume_BCDHW.float()
    inside = volume > 0
    gamma_BC = _on(volume, parameters.gamma)[:, :, None, None, None]
    changed = volume.clamp(min=0).pow(gamma_BC) * _shading(volume, parameters.shading)
    noise_BC = _on(volume, parameters.noise)[:, :, None, None, None]
    changed = changed + noise_BC * _noise(volume, parameters.seeds)
    return torch.where(inside, changed, 0)


def _shading(volume: Tensor, coefficients: NDArray[np.float64]) -> Tensor:
    """(B, C, D, H, W): e to a polynomial of the position."""
    field = _on(volume, coefficients)
    for size in volume.shape[2:]:
        # From half a voxel within one edge to half a voxel within the other, scaled to end at 1.
        centres = torch.arange(size, device=volume.device) - (size - 1) / 2
        axis = centres / max((size - 1) / 2, 0.5)
        powers = torch.stack([axis**power for power in range(ORDER + 1)])
        # Replaces the first axis of powers by one of voxels, put last.
        field = torch.tensordot(field, powers, dims=([2], [0]))
    return field.exp()


def _noise(volume: Tensor, seeds: list[int]) -> Tensor:
    """Standard normal values of the volume's shape, each volume's from a seed of its own."""
    noise = torch.empty_like(volume)
    source = torch.Generator(volume.device)
    for sample, seed in enumerate(seeds):
        noise[sample].normal_(generator=source.manual_seed(seed))
    return noise


def _on(volume: Tensor, values: NDArray[np.float64]) -> Tensor:
    """float32 on the volume's device, without waiting for it."""
    host = torch.from_numpy(values).float()
    if volume.is_cuda:
        host = host.pin_memory()  # or the copy may wait for the device
    return host.to(volume.device, non_blocking=True)
