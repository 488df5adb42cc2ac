"""How long a run trains, from its settings and the number of its training subjects; no torch."""

from __future__ import annotations

import math

from stfmri.study.config.training import TrainConfig


def batches_of(samples: int, batch_size: int) -> int:
    """How many batches an epoch has, where a single sample left over joins the batch before it."""
    batches = math.ceil(samples / batch_size)
    is_alone = samples % batch_size == 1 < batch_size
    return batches - 1 if is_alone and batches > 1 else batches


def steps_of(train: TrainConfig, batches: int) -> int:
    """How many steps an epoch of so many batches takes."""
    return math.ceil(batches / train.accumulate)


def epochs_of(train: TrainConfig, batches: int) -> int:
    """How many epochs a run trains: at least `train.epochs`, and at least `train.steps` steps.

    Args:
        batches: of an epoch, on one process.
    """
    return max(train.epochs, math.ceil(train.steps / steps_of(train, batches)))
