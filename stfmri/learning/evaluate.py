"""What a trained network says of volumes that it has not trained on: once each, in eval mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor, nn

from stfmri.learning.data import Part, in_batches
from stfmri.learning.stages import Stage, keep_frozen
from stfmri.study.errors import TrainingError


@torch.inference_mode()
def class_probabilities(
    network: nn.Module,
    part: Part,
    network_input: Callable[[Tensor], Tensor],
    *,
    batch_size: int,
    where: Path,
    rank: int = 0,
    world: int = 1,
) -> NDArray[np.float64]:
    """Class probabilities (N, K) of a part's subjects in their order.

    Args:
        network_input: makes a batch of stored volumes (B, C, D, H, W) into what the network takes.
        where: the run's folder, for the error.
        rank, world: this process among those that share the work; each learns all results.

    Raises:
        TrainingError: where a subject was predicted twice or not at all.
    """
    count = len(part.subject_ids)
    mine = list(range(count))[rank::world]
    network.eval()
    found: list[tuple[int, list[float]]] = []
    # Each process has a batch, if only to throw away: after training, DDP's first pass hands the
    # first process's batch norm to all, and waits for all.
    for batch in part.batches(in_batches(mine or [0], batch_size), 0):
        logits_BK = network(network_input(batch.volume_BCDHW))
        rows = logits_BK.double().softmax(dim=1).cpu().tolist()
        found += zip(batch.samples, rows, strict=True)
    if not mine:
        found = []
    everyone = gather_object(found) if world > 1 else found
    by_sample = dict(everyone)
    if sorted(by_sample) != list(range(count)) or len(everyone) != count:
        raise TrainingError(
            f"{where}: expected one prediction for each of {count} subjects, found "
            f"{len(everyone)} for {len(by_sample)} of them"
        )
    return np.array([by_sample[number] for number in range(count)])


@torch.inference_mode()
def recompute_batch_norm(
    network: nn.Module, inputs: Iterable[Tensor], frozen: Sequence[Stage] = ()
) -> None:
    """Put the mean of all batches' means and variances in place of the moving averages.

    After Wu & Johnson, 'Rethinking "Batch" in BatchNorm' (2021), section 3; the variance between
    batches is left out, as training normalises within a batch.

    Args:
        frozen: stages whose statistics stay as they are, as they did in training.
    """
    network.train()
    keep_frozen(frozen)
    layers = [m for m in network.modules() if isinstance(m, nn.BatchNorm3d) and m.training]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
    for number, batch in enumerate(inputs, 1):
        for layer in layers:
            # The plain mean so far. None means that too, but waits for a GPU to read its count.
            layer.momentum = 1 / number
        network(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
