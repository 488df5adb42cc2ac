"""The form of its layers in which a device computes a network fastest."""

from __future__ import annotations

import torch
from torch import nn

from stfmri.learning import convolutions, fused_norm


def suit(network: nn.Module, device: torch.device) -> None:
    """Swap layers of a network, in place; parameters keep their names, results their values."""
    convolutions.reform(network, device.type)
    if not fused_norm.why_not(device):
        fused_norm.fuse(network)
