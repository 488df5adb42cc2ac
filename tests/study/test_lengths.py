"""How long a run trains, known without torch."""

from __future__ import annotations

import pytest

from stfmri.learning.data import epoch_order
from stfmri.learning.seeds import Use
from stfmri.study.config.training import TrainConfig
from stfmri.study.lengths import batches_of, epochs_of, steps_of


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_an_epoch_has_as_many_batches_as_training_draws(batch_size: int) -> None:
    for samples in range(1, 40):
        drawn = epoch_order(samples, batch_size, Use.ORDER, (0, 0, 0))
        assert batches_of(samples, batch_size) == len(drawn)


@pytest.mark.parametrize(
    ("batches", "accumulate", "expected"), [(10, 1, 40), (100, 1, 15), (10, 4, 134), (1, 1, 400)]
)
def test_small_cohorts_train_more_epochs_until_the_steps_are_enough(
    batches: int, accumulate: int, expected: int
) -> None:
    train = TrainConfig(epochs=15, steps=400, accumulate=accumulate)
    assert epochs_of(train, batches) == expected
    assert steps_of(train, batches) * expected >= 400
