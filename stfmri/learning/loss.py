"""The weighted cross-entropy of the paper: 'Weighted cross-entropy loss'."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def class_weights(labels: Sequence[int], classes: int) -> Tensor:
    """Equation 1: `W_c = 1 - n_c / N`, counts from the training set. Float32 (classes,)."""
    counts = Counter(labels)
    return torch.tensor([1 - counts[number] / len(labels) for number in range(classes)])


def weighted_loss(
    logits_BK: Tensor, label_B: Tensor, weight_K: Tensor, smoothing: float = 0.0
) -> Tensor:
    """Equation 2: the batch mean of `W_y · CE`.

    `cross_entropy(weight=W)` would divide by the batch's weights: at batch 1 they would vanish.

    Args:
        smoothing: share of each target spread over all classes (Szegedy et al. 2016, section 7).
    """
    losses = F.cross_entropy(logits_BK, label_B, reduction="none", label_smoothing=smoothing)
    return (weight_K[label_B] * losses).mean()


def guessing_loss(labels: Sequence[int], weight_K: Tensor, smoothing: float = 0.0) -> float:
    """The least loss of a network that gives every volume the same probabilities.

    Args:
        labels: of the volumes that are trained on.
        weight_K: of the classes in the loss, not all zero.
        smoothing: as in `weighted_loss`.
    """
    counts_K = torch.bincount(torch.tensor(labels), minlength=len(weight_K))
    wanted_K = weight_K.double().cpu() * counts_K / len(labels)
    total = wanted_K.sum()
    wanted_K = (1 - smoothing) * wanted_K + smoothing * total / len(weight_K)
    return float(-torch.xlogy(wanted_K, wanted_K / total).sum())
