"""Batch norm in training mode, a residual and a rectifier as one differentiable operation."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from stfmri.learning.fused_norm import kernels

LAYOUT = torch.channels_last_3d
TILE = 4096  # values of a tile: two loads of 16 bytes for each thread in half precision
WIDEST = 64  # channels of a tile: 128 bytes, a cache line, in half precision
WARPS = 8
PROGRAMS_EACH = 4  # on each multiprocessor at a time
MOST_PROGRAMS = 512  # that one program adds up
FINISH_CHANNELS = 16  # of a program that adds up


@dataclass(frozen=True)
class Grid:
    """How (P, C) values are divided among programs."""

    rows: int
    eights: int  # of channels
    block_rows: int
    block_channels: int
    programs: int  # along the rows, each with one tile or more

    @property
    def launch(self) -> tuple[int, int]:
        """Programs along rows and channels."""
        return self.programs, triton.cdiv(8 * self.eights, self.block_channels)

    @property
    def size(self) -> tuple[int, int]:
        """What every kernel is told of the values' shape."""
        return self.rows, self.eights

    @property
    def finish(self) -> tuple[int]:
        """Programs that add up."""
        return (triton.cdiv(8 * self.eights, FINISH_CHANNELS),)

    @property
    def tile(self) -> dict[str, int]:
        """What every kernel over the values is compiled for."""
        sizes = {"BLOCK_P": self.block_rows, "BLOCK_C": self.block_channels}
        return {**sizes, "num_warps": WARPS}

    @property
    def sums(self) -> dict[str, int]:
        """What every kernel that adds up is compiled for."""
        sizes = {"PROGRAMS": MOST_PROGRAMS, "BLOCK_C": FINISH_CHANNELS}
        return {**sizes, "num_warps": WARPS}


@functools.cache
def grid_for(rows: int, channels: int, device: torch.device) -> Grid:
    """One wave of programs on the whole device, fewer where there are not so many tiles."""
    block_channels = min(WIDEST, triton.next_power_of_2(channels))
    block_rows = TILE // block_channels
    wanted = PROGRAMS_EACH * _multiprocessors(device)
    wanted = max(1, wanted // triton.cdiv(channels, block_channels))
    programs = min(triton.cdiv(rows, block_rows), wanted, MOST_PROGRAMS)
    return Grid(rows, channels // 8, block_rows, block_channels, programs)


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1  # Triton's interpreter
    return torch.cuda.get_device_properties(device).multi_processor_count


class Normalise(torch.autograd.Function):
    """relu(batch_norm(x) + residual) of channels-last activations, or without either."""

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        residual: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        running: tuple[Tensor, Tensor, Tensor],
        momentum: float,
        eps: float,
        relu: bool,
    ) -> Tensor:
        """Normalise, and move the running statistics on.

        Args:
            x: (B, C, T, H, W), channels last. C is a multiple of eight and may be more than the
                weights; the channels beyond them come out as zero.
            residual: like x; only together with a rectifier.
            running: mean, variance and the number of batches.
        """
        rows, channels = x.numel() // x.shape[1], x.shape[1]
        grid = grid_for(rows, channels, x.device)
        partial = _floats(x, 2, grid.programs, channels)
        saved = _floats(x, 4, channels)
        y = torch.empty_like(x, memory_format=LAYOUT)
        kernels.statistics[grid.launch](x, partial, *grid.size, **grid.tile)
        kernels.finish_statistics[grid.finish](
            partial,
            weight,
            bias,
            *running,
            saved,
            *grid.size,
            len(weight),
            grid.programs,
            momentum,
            eps,
            BLOCK_P=grid.block_rows,
            **grid.sums,
        )
        added = residual is not None
        kernels.normalise[grid.launch](
            x,
            residual if added else x,
            y,
            saved,
            *grid.size,
            RELU=relu,
            RESIDUAL=added,
            **grid.tile,
        )
        ctx.save_for_backward(x, y if added else None, saved)
        ctx.relu, ctx.own = relu, len(weight)
        return y

    @staticmethod
    def backward(ctx, gradient):
        """Gradients of x, the residual, the weight and the bias."""
        x, y, saved = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=LAYOUT)
        rows, channels = x.numel() // x.shape[1], x.shape[1]
        grid = grid_for(rows, channels, x.device)
        partial = _floats(x, 2, grid.programs, channels)
        factors = _floats(x, 2, channels)
        to_x = torch.empty_like(x, memory_format=LAYOUT)
        to_residual = None if y is None else torch.empty_like(x, memory_format=LAYOUT)
        to_weight, to_bias = _floats(x, ctx.own), _floats(x, ctx.own)
        kernels.gradient_sums[grid.launch](
            gradient,
            x,
            x if y is None else y,
            saved,
            x if to_residual is None else to_residual,
            partial,
            *grid.size,
            RELU=ctx.relu,
            RESIDUAL=y is not None,
            **grid.tile,
        )
        kernels.finish_gradients[grid.finish](
            partial,
            saved,
            to_weight,
            to_bias,
            factors,
            *grid.size,
            ctx.own,
            grid.programs,
            **grid.sums,
        )
        before = gradient if to_residual is None else to_residual
        kernels.gradients[grid.launch](
            before, x, saved, factors, to_x, *grid.size, RELU=ctx.relu and y is None, **grid.tile
        )
        return to_x, to_residual, to_weight, to_bias, None, None, None, None


def _floats(x: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device=x.device)
