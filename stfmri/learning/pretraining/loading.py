"""Weights that were pre-trained on MRI, into a network and out of one."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from stfmri.learning.weights import WeightsError


def without_head(network: nn.Module, head: str) -> dict[str, Tensor]:
    """The network's state dict without its head, on the CPU.

    Args:
        head: its dotted name, as `models.head_of` has it.
    """
    state = network.state_dict()
    return {key: value.cpu() for key, value in state.items() if not key.startswith(f"{head}.")}


def load_pretrained(network: nn.Module, head: str, file: Path) -> None:
    """Load pre-trained weights into everything but the head, the stem included.

    Args:
        network: of `models.build`; it keeps the head that it was built with.
        head: dotted name of that head.
        file: what `without_head` gave, or a state dict of the same network with its head.

    Raises:
        WeightsError: where the file is unreadable, or its keys or shapes are another network's.
    """
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
        state = {k: value for k, value in found.items() if not k.startswith(f"{head}.")}
    except Exception as error:  # torch.load raises many kinds; each means this file is no weights
        raise WeightsError(
            f"cannot read weights from {file}: {str(error).splitlines()[0]}"
        ) from error
    expected = without_head(network, head)
    differing = sorted(set(state) ^ set(expected)) or [
        key for key, value in expected.items() if state[key].shape != value.shape
    ]
    if differing:
        key = differing[0]
        raise WeightsError(
            f"{file} holds the weights of another network: {key} is {_shape(state.get(key))} "
            f"there, {_shape(expected.get(key))} in the network to be trained"
        )
    network.load_state_dict({**network.state_dict(), **state})


def _shape(value: Tensor | None) -> str:
    return "absent" if value is None else f"of the shape {tuple(value.shape)}"
