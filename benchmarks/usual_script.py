"""The peer of benchmarks/study.py: a training script as one finds it, over the same HDF5 volumes.

A map-style dataset reads each volume through h5py, rotates, scales and flips it in loader workers,
and the loop is PyTorch's own mixed-precision recipe.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import h5py
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from training_steps import UsualStep

from stfmri.learning import models
from stfmri.study import splits
from stfmri.study.config import Config
from stfmri.study.ready_weights import READY_WEIGHTS
from stfmri.study.shards import read_index

SCALE, DEGREES, FLIP = (0.9, 1.2), 10.0, 0.25  # the paper's light augmentation
WORKERS = 8


class Volumes(Dataset[tuple[Tensor, int]]):
    """The training volumes of fold 0, float32 (1, D, H, W), randomly changed."""

    def __init__(self, config: Config) -> None:
        split = splits.ensure(config)
        rows = {row.subject_id: row for row in read_index(config.cache)}
        self._items = [
            (
                config.cache / rows[subject_id].shard,
                rows[subject_id].row,
                split.classes.index(split.subjects[subject_id].label),
            )
            for subject_id in split.folds[0].train
        ]
        self._files: dict[Path, h5py.File] = {}  # opened by each worker for itself

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        path, row, label = self._items[number]
        if path not in self._files:
            self._files[path] = h5py.File(path, "r")
        volume = torch.from_numpy(self._files[path]["volumes"][row]).float()
        return change(volume), label


def change(volume_CDHW: Tensor) -> Tensor:
    """Rotate and scale at random about the centre, then perhaps flip."""
    angles = (torch.rand(3) * 2 - 1) * math.radians(DEGREES)
    scales = SCALE[0] + torch.rand(3) * (SCALE[1] - SCALE[0])
    matrix = torch.diag(1 / scales)
    for axis, angle in enumerate(angles.tolist()):
        first, second = (other for other in range(3) if other != axis)
        turn = torch.eye(3)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    theta = torch.cat([matrix, torch.zeros(3, 1)], dim=1)[None]
    grid = F.affine_grid(theta, [1, *volume_CDHW.shape], align_corners=True)
    changed = F.grid_sample(volume_CDHW[None], grid, align_corners=True)[0]
    return changed.flip(-1) if torch.rand(()) < FLIP else changed


class UsualScript:
    """A network and its loader."""

    def __init__(self, config: Config, device: torch.device) -> None:
        torch.backends.cudnn.benchmark = True
        workers = min(WORKERS, len(os.sched_getaffinity(0)))
        self.device = device
        self.loader = DataLoader(
            Volumes(config),
            batch_size=1,
            shuffle=True,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
        )
        self.step = UsualStep(config.model.name, device)
        if config.model.weights in READY_WEIGHTS:
            file = Path(str(config.model.weights_file))
            models.load_weights(self.step.network, config.model, file)

    def train_epoch(self) -> float:
        """One pass over the training volumes; its mean loss."""
        total = 0.0
        for volume_BCDHW, label_B in self.loader:
            volume = volume_BCDHW.to(self.device, non_blocking=True)
            total += self.step(volume, label_B.to(self.device, non_blocking=True))
        return total / len(self.loader)
