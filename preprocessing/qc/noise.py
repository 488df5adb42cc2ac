"""Signal-to-noise and contrast-to-noise of a brain, from one scan and without the air around it.

- Noise: the second difference along all three axes at once, the 3-D form of Immerkær's operator
  (Computer Vision and Image Understanding 64:300, 1996). Anatomy that is smooth along any one axis
  cancels; white noise of standard deviation s comes out as 6^1.5 s. Its median absolute value, not
  its mean, is taken, so that edges count little.
- Signal: the mean of the brain, above the background.
- Contrast: between the two largest of three intensity classes (Otsu, IEEE Trans. Syst. Man Cybern.
  9:62, 1979), white and grey matter in most contrasts, over the noise (Magnotta & Friedman,
  J. Digit. Imaging 19:140, 2006).

Noise that a scanner or an earlier step has interpolated is no longer white and seems smaller than
it was: compare scans of one source, not of two.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Norm of the kernel [1, -2, 1] ⊗ [1, -2, 1] ⊗ [1, -2, 1].
KERNEL_NORM = 6.0**1.5
# Median absolute value of a normal distribution of unit standard deviation.
HALF_NORMAL_MEDIAN = 0.6745
FEWEST = 500  # voxels with all their neighbours in the brain, to say anything of noise
BINS = 128
ENOUGH = 200_000  # voxels that are looked at, of many: percentiles to a thousandth of the brain
SLAB = 1 / 3  # of the brain along its longest axis, in which noise is measured


UPPER, MIDDLE, LOWER = slice(2, None), slice(1, -1), slice(-2)


@dataclass(frozen=True)
class Quality:
    """Ratios to the noise; None where there is no noise, as in a synthetic image."""

    snr: float | None
    cnr: float | None


def quality(values: NDArray[np.float32], brain: NDArray[np.bool_], background: float) -> Quality:
    """Signal and contrast of a brain over its noise.

    Args:
        values: a scan, or a box around its brain.
        brain: which of the voxels are brain.
        background: the value of no signal.
    """
    noise = noise_sd(*_slab(values, brain))
    if not noise:
        return Quality(None, None)
    inside = sample(values[brain])
    dark, bright = np.percentile(inside, [0.5, 99.5])
    darker, brighter = dominant_classes(inside, float(dark), float(bright))
    signal = float(np.clip(inside, dark, bright).mean()) - background
    return Quality(signal / noise, (brighter - darker) / noise)


def noise_sd(values: NDArray[np.float32], brain: NDArray[np.bool_]) -> float:
    """Standard deviation of white noise in the brain; 0 where it is free of noise or too small.

    Only the calmer half of the brain is looked at, that with the smaller gradients of a smoothed
    image, away from edges. The gradient is odd and the operator even in every direction: for noise
    alone the two are independent, and the choice is without bias.
    """
    steep = _steepness(values)
    whole = brain
    for axis in range(3):
        upper, middle, lower = (_along(axis, part) for part in (UPPER, MIDDLE, LOWER))
        values = values[upper] - 2 * values[middle] + values[lower]
        whole = whole[upper] & whole[middle] & whole[lower]
    found, steep = np.abs(values[whole]), steep[whole]
    if found.size < FEWEST:
        return 0.0
    calm = found[steep <= np.median(steep)]
    return float(np.median(calm)) / HALF_NORMAL_MEDIAN / KERNEL_NORM


def _steepness(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gradient of the smoothed image, summed over the axes; without the outermost voxels."""
    smooth = ndimage.uniform_filter(values, 3)
    inner = (MIDDLE,) * 3
    total = np.zeros_like(smooth[inner])
    for axis in range(3):
        upper, lower = ((*inner[:axis], part, *inner[axis + 1 :]) for part in (UPPER, LOWER))
        total += np.abs(smooth[upper] - smooth[lower])
    return total


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (slice(None),) * axis + (part,)


def sample(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every n-th value, so that enough are left."""
    return values[:: max(1, values.size // ENOUGH)]


def dominant_classes(inside: NDArray[np.float32], low: float, high: float) -> tuple[float, float]:
    """Means of the two largest of three intensity classes, the darker first.

    Args:
        inside: the brain's values; those beyond `low` and `high` count as these.
    """
    classes = otsu(inside, low, high)
    first, second = sorted(classes, key=lambda found: -found[0])[:2]
    darker, brighter = sorted((first[1], second[1]))
    return darker, brighter


def _slab(
    values: NDArray[np.float32], brain: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The middle of a large brain; a small one whole, since there each voxel counts."""
    if np.count_nonzero(brain) < ENOUGH:
        return values, brain
    axis = int(np.argmax(brain.shape))
    size = brain.shape[axis]
    part = slice(round(size * (1 - SLAB) / 2), round(size * (1 + SLAB) / 2))
    return values[_along(axis, part)], brain[_along(axis, part)]


def otsu(inside: NDArray[np.float32], low: float, high: float) -> list[tuple[float, float]]:
    """Otsu's three classes: those whose means lie furthest apart.

    Returns:
        Share and mean of each class, the darkest first.
    """
    counts, edges = np.histogram(np.clip(inside, low, high), BINS, (low, high))
    shares = np.concatenate([[0], np.cumsum(counts / max(inside.size, 1))])
    sums = np.concatenate([[0], np.cumsum(counts * (edges[1:] + edges[:-1]) / 2)])
    sums /= max(inside.size, 1)

    def part(start: NDArray[np.intp], stop: NDArray[np.intp]) -> tuple[NDArray, NDArray]:
        share = shares[stop] - shares[start]
        return share, (sums[stop] - sums[start]) / np.maximum(share, 1e-9)

    first, second = np.triu_indices(BINS - 1, 1)
    first, second = first + 1, second + 1
    ends = (np.zeros_like(first), first, second, np.full_like(first, BINS))
    parts = [part(start, stop) for start, stop in itertools.pairwise(ends)]
    # The variance between classes, up to a term that is the same for all.
    best = int(np.argmax(sum(share * mean**2 for share, mean in parts)))
    return [(float(share[best]), float(mean[best])) for share, mean in parts]
