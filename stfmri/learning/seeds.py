"""Seeds for everything that is drawn at random, from a run's seed, its fold, an epoch and so on."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Use(IntEnum):
    """What is drawn; draws for different uses are unrelated, whatever their numbers."""

    WEIGHTS = 1
    DROPOUT = 2
    ORDER = 3
    AUGMENTATION = 4
    STATISTICS = 5  # the order in which batch norm is recomputed
    INTENSITY = 6
    NOISE = 7
    BLANK = 8  # the part of a volume that self-supervision hides


def generator(use: Use, *numbers: int) -> np.random.Generator:
    """A generator that depends on all of its arguments, and on how many there are."""
    # The count matters: SeedSequence takes (0,) and (0, 0) for the same.
    return np.random.default_rng([use, len(numbers), *numbers])


def mix(use: Use, *numbers: int) -> int:
    """A 63-bit seed for torch, with the same properties as `generator`."""
    return int(generator(use, *numbers).integers(2**63))
