"""Part A, operators: is each right in fp16 on this device, and in which form is it fastest?"""

from __future__ import annotations

import torch
from cohort import volume
from torch.backends import cudnn

from gpu import convolving, norming
from gpu.record import Part, Report
from stfmri.learning import augment
from stfmri.study.config.training import AugmentConfig

SHAPE = (1, 1, 78, 120, 120)
TOY_SHAPE = (1, 1, 8, 24, 24)
VOLUMES = 4
# Linear interpolation of voxels in [0, 1]; positions in float32 differ by some 1e-5 voxels.
AUGMENT_LIMIT = 1e-3


def run(report: Report) -> None:
    """Check the operators."""
    shape = TOY_SHAPE if report.quick else SHAPE
    _augmentation(report, shape)
    with cudnn.flags(enabled=cudnn.enabled, benchmark=True, allow_tf32=False):
        convolving.check(report, shape)
        norming.check(report, shape)


def _augmentation(report: Report, shape: tuple[int, ...]) -> None:
    parameters = augment.draw(AugmentConfig(kind="light"), (0, 0, 0), list(range(VOLUMES)))
    volumes = torch.stack([torch.from_numpy(volume(n, shape[2:])) for n in range(VOLUMES)])
    here = augment.apply(volumes, parameters)
    there = augment.apply(volumes.to(report.device), parameters).cpu()
    error = float((here - there).abs().max())
    report.add("augmentation, largest difference from the CPU's", error, limit=AUGMENT_LIMIT)


PART_A = Part("A", "operators: convolutions, batch norm, augmentation", run)
