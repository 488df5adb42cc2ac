"""One seed of several numbers, such as a run's own, its fold and its epoch."""

from __future__ import annotations

import numpy as np


def mix(*numbers: int) -> int:
    """A 63-bit seed; two lists of numbers that differ anywhere give unrelated ones."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
