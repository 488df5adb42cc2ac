"""The same networks, their convolutions in the form that a device computes fastest.

Weights, checkpoints and results stay what they are: only the arithmetic's order changes. Which form
a device gets is decided here alone:

- A CPU gets `cpu.reform`. There a 2-D convolution is the faster one for (1, k, k), matrix products
  for the weight gradient of (3, 1, 1), and middle channels fill vectors of 16. It also avoids the
  shapes for which oneDNN's bf16 gradients are wrong.
- A CUDA device gets `cuda.reform`: 2-D convolutions on views of the same memory, and middle
  channels in multiples of eight, which matrix units ask for.
- Any other device keeps the network as it is.

benchmarks/RESULTS.md has what each form gains; `benchmarks/gpu_check.py --part A` measures it.
"""

from __future__ import annotations

from torch import nn

from stfmri.learning.convolutions import cpu, cuda
from stfmri.learning.convolutions.shared import WideNorm

__all__ = ["WideNorm", "reform"]

REFORMS = {"cpu": cpu.reform, "cuda": cuda.reform}


def reform(network: nn.Module, device_type: str = "cpu") -> nn.Module:
    """Swap the layers of a network for the forms that suit a type of device, in place."""
    suited = REFORMS.get(device_type)
    return suited(network) if suited else network
