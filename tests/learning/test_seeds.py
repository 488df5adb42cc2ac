from __future__ import annotations

from itertools import product

from stfmri.learning.seeds import Use, generator, mix


def test_seeds_differ_by_use_by_every_number_and_by_how_many_there_are() -> None:
    numbers = [values for length in range(4) for values in product((0, 1), repeat=length)]
    seeds = {mix(use, *values) for use in Use for values in numbers}
    assert len(seeds) == len(Use) * len(numbers)
    draws = {generator(use, *values).random() for use in Use for values in numbers}
    assert len(draws) == len(seeds)
