"""What an fp16 loss scaler made of an epoch's steps."""

from __future__ import annotations

from pathlib import Path

from torch.amp.grad_scaler import GradScaler

from stfmri.learning.learner import Learner
from stfmri.study.errors import DivergedError

FIRST_HALVINGS = 8  # of the loss scale, beside a tenth of the steps: from 2¹⁶ to 2⁸


def scaled_steps(
    learner: Learner, scaler: GradScaler, taken_before: int, folder: Path
) -> dict[str, float]:
    """The loss scale after an epoch, and how many of its steps were taken and left out.

    Args:
        taken_before: the steps that the run had taken when the epoch began.
        folder: the run's, for the error.

    Raises:
        DivergedError: where so many were left out that the run would only seem to train.
    """
    scale, taken = scaler.get_scale(), learner.steps_taken()
    steps = learner.epoch * learner.steps_in_epoch
    left_out = steps - taken
    # At first the scaler may halve the scale a few times; but some step must be taken at last.
    too_many = left_out > FIRST_HALVINGS + steps / 10
    if scale < 1 or too_many or (left_out == steps and learner.epoch == learner.epochs):
        raise DivergedError(
            f"{folder}: gradients overflow in fp16: {left_out} of {steps} steps were left "
            f"out until epoch {learner.epoch}, which ended with a loss scale of {scale:g}; use "
            "train.precision=bf16 or fp32"
        )
    own = taken - taken_before
    return {
        "loss_scale": scale,
        "steps": own,
        "skipped_steps": learner.steps_in_epoch - own,
    }
