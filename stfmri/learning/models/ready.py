"""Ready-made weights into a network: read, checked against what they must fit, and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from stfmri.learning.models.registry import first_convolution, network_named
from stfmri.learning.weights import WeightsError
from stfmri.study.config.training import ModelConfig
from stfmri.study.errors import first_line
from stfmri.study.ready_weights import READY_WEIGHTS


def load_weights(network: nn.Module, model: ModelConfig, file: Path) -> None:
    """Load ready-made weights into everything but the head, and the stem where they keep none.

    Weights for scans keep their first layer. Those for colour films keep it with
    `model.stem_init=rgb_sum`: its first kernel is summed over the colours, so that a grey film
    gives the activations that it gave when shown as RGB. Each of C channels is given this sum
    divided by C: C times the same film would give them again.

    Args:
        network: of `build`, with as many channels and classes as it may have.
        file: what `model.weights` names, for `model.name`.

    Raises:
        WeightsError: where the file is unreadable, or its keys or shapes are another network's.
    """
    record = network_named(model.name)
    state = read_weights(model, file)
    left_out = [f"{record.head}."]
    if READY_WEIGHTS[model.weights].keeps_first_layer or model.stem_init == "rgb_sum":
        name, first = first_convolution(network)
        grey = state[f"{name}.weight"].sum(dim=1, keepdim=True)
        state[f"{name}.weight"] = grey.expand(-1, first.in_channels, -1, -1, -1) / first.in_channels
    else:
        left_out.append(f"{record.stem}.")
    kept = {key: value for key, value in state.items() if not key.startswith(tuple(left_out))}
    network.load_state_dict(kept, strict=False)


def read_weights(model: ModelConfig, file: Path) -> dict[str, Tensor]:
    """Read the state dict that `model.weights` names, for `model.name`.

    Raises:
        WeightsError: where the file is unreadable, or its keys or shapes are another network's.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds; each means this file is no weights
        raise WeightsError(f"cannot read weights from {file}: {first_line(error)}") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]  # a checkpoint, with the epoch beside it
    if not isinstance(state, Mapping):
        raise WeightsError(f"{file} must hold a state dict, found {type(state).__name__}")
    # The prefix is of a network that was trained on several GPUs.
    state = {str(key).removeprefix("module."): value for key, value in state.items()}
    with torch.device("meta"):
        expected = network_named(model.name).ready[model.weights]().state_dict()
    _check_state(state, expected, model.name, file)
    return state


def _check_state(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], name: str, file: Path
) -> None:
    # Counters of batches, which old files lack and prediction does not use.
    needed = {key for key in expected if not key.endswith("num_batches_tracked")}
    missing = sorted(needed - set(state))
    unknown = sorted(set(state) - set(expected))
    if missing or unknown:
        what = f"lacks {missing[0]}" if missing else f"has the unknown {unknown[0]}"
        raise WeightsError(
            f"{file} holds the weights of another network than {name}: it {what} "
            f"({len(missing)} keys missing, {len(unknown)} unknown)"
        )
    for key in state:
        found = tuple(getattr(state[key], "shape", ()))
        if found != tuple(expected[key].shape):
            raise WeightsError(
                f"{file} holds the weights of another network than {name}: {key} has the shape "
                f"{found}, expected {tuple(expected[key].shape)}"
            )
