"""The parts of the GPU checks, in the order in which they run."""

from __future__ import annotations

from gpu.part_a import PART_A
from gpu.part_b import PART_B
from gpu.part_c import PART_C
from gpu.part_d import PART_D
from gpu.part_e import PART_E
from gpu.part_f import PART_F
from gpu.part_g import PART_G
from gpu.record import Part

PARTS: tuple[Part, ...] = (PART_A, PART_B, PART_C, PART_D, PART_E, PART_F, PART_G)
