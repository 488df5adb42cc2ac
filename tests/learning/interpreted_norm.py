"""Prints, as JSON, how far the fused batch norm is from PyTorch's; for Triton's interpreter.

The interpreter is chosen when the kernels are defined, hence a process of its own.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from triton.runtime import interpreter

from stfmri.learning.fused_norm.operator import Normalise

# NumPy 2.5 takes no array of one number for an index, which the interpreter relies on.
_patched = interpreter._patch_lang_tensor


def _patch(tensor: Any, scope: Any) -> None:
    _patched(tensor, scope)
    scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))


interpreter._patch_lang_tensor = _patch

CASES = {
    # name: (B, C, T, H, W), channels with parameters
    "odd sizes": ((2, 24, 3, 5, 7), 24),
    "more channels than a tile": ((1, 72, 2, 9, 8), 72),
    "channels beyond the parameters": ((2, 48, 3, 4, 5), 45),
    "few channels": ((1, 8, 3, 5, 9), 5),
    "many tiles": ((3, 16, 5, 23, 11), 16),
    "one slice": ((2, 64, 1, 3, 3), 64),
}
KINDS = {"plain": (False, False), "relu": (True, False), "residual": (True, True)}


def reference(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, relu: bool, own: int
) -> tuple[Tensor, Tensor, Tensor]:
    mean, variance = torch.zeros(own).double(), torch.ones(own).double()
    y = F.batch_norm(x[:, :own], mean, variance, weight, bias, True, 0.1, 1e-5)
    y = torch.cat([y, torch.zeros_like(x[:, own:])], 1)
    y = y if residual is None else y + residual
    return F.relu(y) if relu else y, mean, variance


def error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    ours, theirs = ours.detach().double(), theirs.detach()
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-30))


def errors(case: str, kind: str, dtype: torch.dtype) -> dict[str, float]:
    shape, own = CASES[case]
    relu, added = KINDS[kind]
    generator = torch.Generator().manual_seed(0)

    def drawn(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=generator)

    x = (drawn(*shape) * 2 + 30).to(dtype)  # a mean far from zero
    x[:, own:] = 0
    residual = drawn(*shape).to(dtype) if added else None
    if residual is not None:
        residual[:, own:] = 0
    gradient = drawn(*shape).to(dtype)
    weight, bias = drawn(own), drawn(own)
    layout = {"memory_format": torch.channels_last_3d}
    ours = [item.clone(**layout).requires_grad_() for item in (x, residual) if item is not None]
    theirs = [item.detach().double().requires_grad_() for item in ours]
    own_weights = [item.clone().requires_grad_() for item in (weight, bias)]
    their_weights = [item.double().requires_grad_() for item in (weight, bias)]
    mean, variance, tracked = torch.zeros(own), torch.ones(own), torch.tensor(4)
    y = Normalise.apply(
        *ours, *([None] if not added else []), *own_weights, (mean, variance, tracked), 0.1, 1e-5,
        relu,
    )  # fmt: skip
    y.backward(gradient)
    expected, their_mean, their_variance = reference(
        theirs[0], theirs[1] if added else None, *their_weights, relu, own
    )
    # The rectifier is open where the rounded output is positive
    open_there = (y.double() > 0) == (expected > 0) if relu else torch.ones_like(y).bool()
    expected.backward(gradient.double() * open_there)
    found = {
        "output": error(y, expected.detach()),
        "running mean": error(mean, their_mean),
        "running variance": error(variance, their_variance),
        "gradient of the weight": error(own_weights[0].grad, their_weights[0].grad),
        "gradient of the bias": error(own_weights[1].grad, their_weights[1].grad),
        "closed rectifiers": float((~open_there).double().mean()),
        "batches": float(tracked - 5),
        "layout": float(not y.is_contiguous(memory_format=torch.channels_last_3d)),
        "beyond": float(y[:, own:].abs().sum()),
    }
    found["gradient"] = error(ours[0].grad[:, :own], theirs[0].grad[:, :own])
    if added:
        found["gradient of the residual"] = error(ours[1].grad, theirs[1].grad)
    return found


if __name__ == "__main__":
    dtypes = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    json.dump(
        [
            {"case": case, "kind": kind, "dtype": name, "errors": errors(case, kind, dtype)}
            for case in CASES
            for kind in KINDS
            for name, dtype in dtypes.items()
            if case == "odd sizes" or (kind == "residual" and name == "fp32")
        ],
        sys.stdout,
    )
