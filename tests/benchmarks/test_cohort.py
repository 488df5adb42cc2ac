from __future__ import annotations

from pathlib import Path

import cohort
import numpy as np
import pytest

from stfmri.study import splits
from stfmri.study.shards import Volumes, read_index


@pytest.mark.parametrize(
    ("subjects", "sizes"),
    [(591, (73, 259, 259)), (296, (37, 130, 129)), (148, (18, 65, 65)), (12, (2, 5, 5))],
)
def test_classes_keep_the_paper_s_proportion_at_every_size(subjects: int, sizes: tuple) -> None:
    assert tuple(cohort.class_sizes(subjects).values()) == sizes


def test_a_volume_is_a_third_brain_in_the_unit_interval_and_the_same_each_time() -> None:
    volume = cohort.volume(3, (30, 40, 40), level=1.0)
    assert volume.dtype == np.float16
    assert volume.min() == 0
    assert volume.max() <= 1
    assert 0.15 < (volume > 0).mean() < 0.4
    assert np.array_equal(volume, cohort.volume(3, (30, 40, 40), level=1.0))


def test_the_cache_is_one_that_training_takes(tmp_path: Path) -> None:
    config = cohort.config_for(tmp_path, toy=True)
    ids = cohort.write_cache(config, 20)
    split = splits.ensure(config)
    fold = split.folds[0]
    assert set(fold.train) | set(fold.test) == set(ids)
    assert len(fold.train) == 13
    assert Volumes(config.cache, read_index(config.cache))[ids[-1]].shape == (1, 12, 20, 20)


def test_at_full_size_as_many_train_as_the_arithmetic_says() -> None:
    sizes = cohort.class_sizes(cohort.PAPER_SUBJECTS).values()
    assert sum(round(0.7 * size) for size in sizes) == cohort.PAPER_TRAINING
