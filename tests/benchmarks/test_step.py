"""The choice of a batch size, with steps whose cost is known."""

from __future__ import annotations

import time
from collections.abc import Callable

import step
import torch
from accelerate import Accelerator
from torch import Tensor

Step = Callable[[Tensor, Tensor], None]
SECONDS = {1: 0.02, 2: 0.02, 4: 0.1}  # of a step; two volumes at a time are fastest


def test_the_batch_size_with_most_volumes_a_second_is_found_by_steps_of_its_own() -> None:
    met: list[set[int]] = []

    def make() -> Step:
        sizes: set[int] = set()
        met.append(sizes)

        def take(volumes: Tensor, labels: Tensor) -> None:
            sizes.add(len(volumes))
            time.sleep(SECONDS[len(volumes)])

        return take

    accelerator = Accelerator(cpu=True)
    assert step.best_batch(make, accelerator, (2, 2, 2), tuple(SECONDS)) == 2
    assert met == [{1}, {2}, {4}]


def test_a_size_beyond_the_memory_ends_the_search() -> None:
    def make() -> Step:
        def take(volumes: Tensor, labels: Tensor) -> None:
            if len(volumes) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            time.sleep(0.01)

        return take

    assert step.best_batch(make, Accelerator(cpu=True), (2, 2, 2), (1, 2, 4, 8)) == 2
