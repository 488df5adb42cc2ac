"""The form of its layers in which a device computes a network fastest."""

from __future__ import annotations

import torch
from torch import nn

from stfmri.learning import convolutions, fused_norm
from stfmri.learning.convolutions.shared import SameWeights
from stfmri.learning.fused_norm import FusedNorm


def suit(network: nn.Module, device: torch.device, captured: bool) -> None:
    """Swap layers of a network, in place; parameters keep their names, results their values.

    Args:
        captured: whether steps are launched as CUDA graphs. Without them a GPU gets the network as
            it is: launched one by one, more kernels cost the host more than they spare the GPU.
    """
    if device.type == "cuda" and not captured:
        return
    convolutions.reform(network, device.type)
    if not fused_norm.why_not(device):
        fused_norm.fuse(network)


def described(network: nn.Module) -> dict[str, bool]:
    """Which layers of a network have a form of their own."""
    kinds = {type(module) for module in network.modules()}
    return {
        "own_convolutions": any(issubclass(kind, SameWeights) for kind in kinds),
        "fused_norms": any(issubclass(kind, FusedNorm) for kind in kinds),
    }
