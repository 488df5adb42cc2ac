"""Accelerate in the precision and on the devices that this machine has."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import parse_flag_from_env

from stfmri.learning import device, gpu
from stfmri.study.config import Config


def accelerator_of(config: Config) -> Accelerator:
    """Accelerate in the precision that this machine really has.

    Raises:
        NoGpuError: where a GPU was asked for and none is seen.
    """
    gpu.before_accelerate()
    # As Accelerate will choose; it reads this variable only where it makes the state itself.
    # Without it, each of several processes on CPUs would take itself for the only one.
    several = "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE") or 1) > 1
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or (several and not torch.cuda.is_available())
    kind = PartialState(cpu=cpu).device.type
    precision = device.resolve_precision(config.train.precision, kind, config.model.name)
    return Accelerator(mixed_precision=device.ACCELERATE_NAMES[precision])
