"""A process on the null device: `python -m tests.cuda.inside MODULE [ARGUMENTS …]`.

Gives PyTorch what the runtime cannot: convolutions and matrix products, whose libraries need a real
driver, only make outputs of the right shape, dtype and layout; fills and softmax have values, so
that a run reads a loss scale that is one and probabilities that sum to 1; so have the copy of a
number and counting up, so that it reads a loss and how many steps were taken.
"""

from __future__ import annotations

import ctypes
import runpy
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

SMALL = 4096  # elements of a contiguous tensor that a run may read
_RUNTIME = ctypes.CDLL(None)  # the preloaded one
_OPERATORS = torch.library.Library("aten", "IMPL")  # as long as it lives, they are replaced


@dataclass(frozen=True)
class Counts:
    """What PyTorch has asked of the runtime so far; see `null_runtime.c`."""

    launches: int
    waits: int
    copies_in: int
    copies_out: int
    pageable: int
    allocations: int
    captures: int
    nodes: int
    replays: int
    illegal: int

    def __sub__(self, before: Counts) -> Counts:
        """What was asked between two counts; `nodes` are still the last graph's."""
        asked = (getattr(self, one.name) - getattr(before, one.name) for one in fields(Counts))
        return replace(Counts(*asked), nodes=self.nodes)


def counts() -> Counts:
    """Read every counter."""
    return Counts(
        *(ctypes.c_long.in_dll(_RUNTIME, f"null_{one.name}").value for one in fields(Counts))
    )


def illegal_calls() -> list[str]:
    """The calls so far that a capture does not allow, in their order."""
    text = (ctypes.c_char * 8192).in_dll(_RUNTIME, "null_illegal_calls").value
    return text.decode().splitlines()


def runtime_allocation() -> None:
    """Take device memory from the runtime, not from PyTorch's pools."""
    place = ctypes.c_void_p()
    if _RUNTIME.cudaMalloc(ctypes.byref(place), ctypes.c_size_t(512)):
        raise RuntimeError("cudaMalloc was refused")


def replace_operators() -> None:
    """Give the null device the operators that the runtime cannot."""
    torch.backends.cudnn.enabled = False
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Warning only once for all operators")
        _OPERATORS.impl("convolution", _convolution, "CUDA")
        _OPERATORS.impl("convolution_backward", _convolution_backward, "CUDA")
        _OPERATORS.impl("mm", _product, "CUDA")
        _OPERATORS.impl("addmm", _added_product, "CUDA")
        _OPERATORS.impl("fill_.Scalar", _fill, "CUDA")
        _OPERATORS.impl("clone", _clone, "CUDA")
        _OPERATORS.impl("_foreach_add_.Scalar", _count_up, "CUDA")
        _OPERATORS.impl("_softmax", _softmax, "CUDA")


def _layout(tensor: Tensor) -> torch.memory_format:
    last = torch.channels_last if tensor.ndim == 4 else torch.channels_last_3d
    return last if tensor.is_contiguous(memory_format=last) else torch.contiguous_format


def _convolution(
    volume: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tensor:
    assert not transposed
    _same_dtype(volume, weight)
    sides = [
        (size + 2 * pad - step * (kernel - 1) - 1) // jump + 1
        for size, pad, step, kernel, jump in zip(
            volume.shape[2:], padding, dilation, weight.shape[2:], stride, strict=True
        )
    ]
    shape = (volume.shape[0], weight.shape[0], *sides)
    return torch.empty(
        shape, dtype=volume.dtype, device=volume.device, memory_format=_layout(volume)
    )


def _convolution_backward(
    gradient: Tensor,
    volume: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    _same_dtype(gradient, volume, weight)
    layout = _layout(volume)
    return (
        torch.empty_like(volume, memory_format=layout) if wanted[0] else None,
        torch.empty_like(weight, memory_format=layout) if wanted[1] else None,
        weight.new_empty(weight.shape[0]) if wanted[2] else None,
    )


def _product(left: Tensor, right: Tensor) -> Tensor:
    _same_dtype(left, right)
    return left.new_empty(left.shape[0], right.shape[1])


def _added_product(bias: Tensor, left: Tensor, right: Tensor, **_: Any) -> Tensor:
    _same_dtype(bias, left, right)
    return _product(left, right)


def _softmax(logits: Tensor, dim: int, half_to_float: bool) -> Tensor:
    return torch.full_like(logits, 1 / logits.shape[dim])


def _fill(tensor: Tensor, value: float) -> Tensor:
    """Launch the kernel, and do its work where a run may read it."""
    torch.ops.aten.fill_.Tensor(tensor, torch.tensor(value))
    if _is_number(tensor):
        _RUNTIME.null_set(ctypes.c_void_p(tensor.data_ptr()), ctypes.c_float(value))
    elif (
        0 < tensor.numel() <= SMALL
        and tensor.is_contiguous()
        and not torch.cuda.is_current_stream_capturing()
    ):
        values = torch.full((tensor.numel(),), value, dtype=tensor.dtype)
        ctypes.memmove(tensor.data_ptr(), values.data_ptr(), values.nbytes)
    return tensor


def _clone(tensor: Tensor, memory_format: torch.memory_format | None = None) -> Tensor:
    copy = torch.empty_like(tensor, memory_format=memory_format or torch.preserve_format)
    copy.copy_(tensor)
    if _is_number(tensor) and not torch.cuda.is_current_stream_capturing():
        ctypes.memmove(copy.data_ptr(), tensor.data_ptr(), tensor.nbytes)
    return copy


def _count_up(tensors: list[Tensor], value: float) -> None:
    """Launch the kernel, and do its work on single numbers."""
    torch.ops.aten._foreach_neg_(tensors)
    for tensor in filter(_is_number, tensors):
        _RUNTIME.null_add(ctypes.c_void_p(tensor.data_ptr()), ctypes.c_float(value))


def _is_number(tensor: Tensor) -> bool:
    return tensor.numel() == 1 and tensor.dtype == torch.float32


def _same_dtype(*tensors: Tensor) -> None:
    found = {tensor.dtype for tensor in tensors}
    if len(found) > 1:
        raise TypeError(f"expected operands of one dtype, found {[one.dtype for one in tensors]}")


def main() -> None:
    """Run a module here, as `python -m` would."""
    replace_operators()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    # By its full name, so that the module that is run finds the same counters and operators.
    from tests.cuda import inside

    inside.main()
