"""Volumes to batches on the device: held in its memory where they fit, streamed otherwise."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from stfmri.learning.seeds import Use, generator
from stfmri.study.shards import Volumes

BYTES_PER_VOXEL = 2  # float16


@dataclass(frozen=True)
class Batch:
    """Volumes float16 (B, C, D, H, W) and classes int64 (B,) on the device.

    `samples` are the volumes' numbers in their part.
    """

    volume_BCDHW: Tensor
    label_B: Tensor
    samples: list[int]


class Part(Protocol):
    """One side of a fold: its subjects in order, and batches of them in any order."""

    subject_ids: Sequence[str]

    def batches(self, order: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:
        """Yield one batch for each list of sample numbers."""
        ...


class HostTransform(Protocol):
    """What a loader process does to a volume; must be picklable."""

    def __call__(self, volume_CDHW: Tensor, epoch: int, sample: int) -> Tensor:
        """Return the changed volume, float16 of the same shape."""
        ...


class Resident:
    """The whole part on the device, in float16; a batch is a gather there."""

    def __init__(
        self, volumes: Volumes, subject_ids: Sequence[str], labels: Tensor, device: torch.device
    ) -> None:
        self.subject_ids = subject_ids
        first = volumes[subject_ids[0]]
        self._volumes = torch.empty(
            (len(subject_ids), *first.shape), dtype=torch.float16, device=device
        )
        # One by one: the whole part may be more than a job has of the host's memory.
        for number, subject_id in enumerate(subject_ids):
            self._volumes[number].copy_(torch.from_numpy(np.array(volumes[subject_id])))
        self._labels = labels.to(device)

    def batches(self, order: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:  # noqa: ARG002
        """Yield gathered batches; no voxel is copied from the host. Epochs are all alike."""
        device = self._volumes.device
        for samples in order:
            index = torch.tensor(samples, pin_memory=device.type == "cuda")
            index = index.to(device, non_blocking=True)
            yield Batch(
                self._volumes.index_select(0, index),
                self._labels.index_select(0, index),
                list(samples),
            )


class Mapped:
    """On a CPU the shards' memory map is the part in memory: nothing is read before its turn."""

    def __init__(self, volumes: Volumes, subject_ids: Sequence[str], labels: Tensor) -> None:
        self.subject_ids = subject_ids
        self._volumes, self._labels = volumes, labels

    def batches(self, order: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:  # noqa: ARG002
        """Yield batches copied out of the map. Epochs are all alike."""
        for samples in order:
            chosen = [self._volumes[self.subject_ids[sample]] for sample in samples]
            yield Batch(torch.from_numpy(np.stack(chosen)), self._labels[samples], list(samples))


class Streamed:
    """The part stays on disk; loader processes read it through their own memory maps."""

    def __init__(
        self,
        volumes: Volumes,
        subject_ids: Sequence[str],
        labels: Tensor,
        device: torch.device,
        workers: int,
        transform: HostTransform | None = None,
    ) -> None:
        self.subject_ids = subject_ids
        self._device = device
        self._order = _EpochOrder()
        self._loader = DataLoader(
            _MappedVolumes(volumes, subject_ids, labels, transform),
            batch_sampler=self._order,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
            # A loader draws a seed for each epoch; not from the generator that dropout draws from.
            generator=torch.Generator(),
            # A forked loader would inherit this process's threads and signal handlers.
            multiprocessing_context="spawn" if workers else None,
        )

    def batches(self, order: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:
        """Yield batches that loader processes have read and, for CUDA, pinned ahead."""
        self._order.batches = [[(epoch, sample) for sample in samples] for samples in order]
        with _cluster_warnings_blocked():
            loaded = iter(self._loader)  # starts the loader processes, the first time
        for (volume_BCDHW, label_B), samples in zip(loaded, order, strict=True):
            yield Batch(
                volume_BCDHW.to(self._device, non_blocking=True),
                label_B.to(self._device, non_blocking=True),
                list(samples),
            )


@contextlib.contextmanager
def _cluster_warnings_blocked() -> Iterator[None]:
    """Processes started within never see SIGUSR2, for they inherit what is blocked.

    SLURM warns every process of a job before its time is up. It is the training process that goes
    on from there; a loader that the signal ended would end it too.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _EpochOrder(Sampler[list[tuple[int, int]]]):
    """The order of the epoch at hand: (epoch, sample) pairs, so that loaders outlive an epoch."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, int]]] = []

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _MappedVolumes(Dataset[tuple[Tensor, Tensor]]):
    def __init__(
        self,
        volumes: Volumes,
        subject_ids: Sequence[str],
        labels: Tensor,
        transform: HostTransform | None,
    ) -> None:
        self._volumes, self._subject_ids, self._labels = volumes, subject_ids, labels
        self._transform = transform

    def __len__(self) -> int:
        return len(self._subject_ids)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, sample = key
        # A copy: the map is read-only, and a tensor may not be.
        volume_CDHW = torch.from_numpy(np.array(self._volumes[self._subject_ids[sample]]))
        if self._transform is not None:
            volume_CDHW = self._transform(volume_CDHW, epoch, sample)
        return volume_CDHW, self._labels[sample]


def open_part(
    volumes: Volumes,
    subject_ids: Sequence[str],
    labels: Sequence[int],
    device: torch.device,
    *,
    resident_share: float,
    workers: int,
    transform: HostTransform | None = None,
) -> Resident | Mapped | Streamed:
    """Keep the part in a GPU's memory where it fits into `resident_share` of what is free there.

    On a CPU the shards are mapped, whatever their size, unless the share is 0.

    A part with a transform for the host is always streamed, through loaders that apply it.
    """
    targets = torch.tensor(labels, dtype=torch.int64)
    if transform is None and device.type == "cpu" and resident_share > 0:
        return Mapped(volumes, subject_ids, targets)
    if transform is None and device.type == "cuda":
        needed = len(subject_ids) * volumes[subject_ids[0]].size * BYTES_PER_VOXEL
        if needed <= resident_share * torch.cuda.mem_get_info(device)[0]:
            return Resident(volumes, subject_ids, targets, device)
    return Streamed(volumes, subject_ids, targets, device, workers, transform)


def epoch_order(
    count: int, batch_size: int, use: Use, seed: Sequence[int], rank: int = 0, world: int = 1
) -> list[list[int]]:
    """Shuffle samples 0…count-1 and cut them into batches; each of `world` processes its own.

    The order depends on `use` and `seed` alone. With several processes it is padded from its start,
    so that each takes equally many steps. A single sample left over joins the batch before it:
    batch norm of one volume says little, and fails where a network's last grid has one voxel.
    """
    order = generator(use, *seed).permutation(count)
    if world > 1:
        order = np.resize(order, -(-count // world) * world)[rank::world]
    batches = in_batches(order.tolist(), batch_size)
    if len(batches) > 1 and len(batches[-1]) == 1 < batch_size:
        batches[-2:] = [batches[-2] + batches[-1]]
    return batches


def in_batches(samples: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cut samples into consecutive batches; the last one may be smaller."""
    return [
        list(samples[start : start + batch_size]) for start in range(0, len(samples), batch_size)
    ]
