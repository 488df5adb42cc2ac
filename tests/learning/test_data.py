"""However a part is held, the same order gives the same batches."""

from __future__ import annotations

import os
import signal
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch

from stfmri.learning.data import Mapped, Resident, Streamed, epoch_order, open_part
from stfmri.learning.seeds import Use
from stfmri.study.config.data import DataConfig
from stfmri.study.shards import Volumes, read_index
from tests.tiny import tiny_cache, tiny_config

CPU = torch.device("cpu")
ORDER = [[4, 1], [0, 5], [3]]


@pytest.mark.parametrize("kind", ["resident", "mapped", "streamed", "streamed by loaders"])
def test_batches_hold_the_volumes_and_classes_of_their_samples(tmp_path: Path, kind: str) -> None:
    config = tiny_config(tmp_path, data=DataConfig(name="tiny", contrasts=("t1ce", "flair")))
    rows = tiny_cache(config)
    volumes = Volumes(config.cache, read_index(config.cache))
    chosen = [rows[number].subject_id for number in (7, 2, 11, 0, 5, 9)]
    labels = torch.tensor([2, 0, 2, 0, 1, 2])
    part = {
        "resident": lambda: Resident(volumes, chosen, labels, CPU),
        "mapped": lambda: Mapped(volumes, chosen, labels),
        "streamed": lambda: Streamed(volumes, chosen, labels, CPU, workers=0),
        "streamed by loaders": lambda: Streamed(volumes, chosen, labels, CPU, workers=1),
    }[kind]()
    for _ in range(2):
        for batch, samples in zip(part.batches(ORDER, 0), ORDER, strict=True):
            assert batch.samples == samples
            assert batch.label_B.tolist() == [int(labels[sample]) for sample in samples]
            assert batch.volume_BCDHW.dtype == torch.float16
            assert batch.volume_BCDHW.shape[1] == 2
            expected = np.stack([volumes[chosen[sample]] for sample in samples])
            np.testing.assert_array_equal(batch.volume_BCDHW.numpy(), expected)


def test_loaders_live_through_the_warning_that_slurm_sends_to_every_process(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    rows = tiny_cache(config)
    volumes = Volumes(config.cache, read_index(config.cache))
    chosen = [row.subject_id for row in rows[:6]]
    part = Streamed(volumes, chosen, torch.arange(6) % 3, CPU, workers=1)
    before = {child.pid for child in active_children()}
    for epoch in range(2):
        assert [batch.samples for batch in part.batches(ORDER, epoch)] == ORDER
        loaders = [child for child in active_children() if child.pid not in before]
        assert len(loaders) == 1
        os.kill(loaders[0].pid, signal.SIGUSR2)
    assert signal.SIGUSR2 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize(("share", "kind"), [(0.5, Mapped), (0.0, Streamed)])
def test_a_share_of_nothing_streams(tmp_path: Path, share: float, kind: type) -> None:
    config = tiny_config(tmp_path)
    rows = tiny_cache(config)
    volumes = Volumes(config.cache, read_index(config.cache))
    part = open_part(volumes, [rows[0].subject_id], [0], CPU, resident_share=share, workers=0)
    assert isinstance(part, kind)


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(9, 4, [4, 5]), (10, 4, [4, 4, 2]), (1, 4, [1]), (3, 1, [1, 1, 1]), (77, 8, [8] * 9 + [5])],
)
def test_an_epoch_takes_every_sample_once_and_leaves_none_alone_in_a_batch(
    count: int, batch_size: int, sizes: list[int]
) -> None:
    order = epoch_order(count, batch_size, Use.ORDER, (0, 0, 3))
    assert [len(samples) for samples in order] == sizes
    assert sorted(sample for samples in order for sample in samples) == list(range(count))
