"""The parts of the GPU checks, in the order in which they run."""

from __future__ import annotations

from gpu.part_a import PART_A
from gpu.record import Part

PARTS: tuple[Part, ...] = (PART_A,)
