"""Pooling that halves volumes of any size."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Halving(nn.Module):
    """Pool pairs of voxels along each axis that has more than two.

    Where sizes are even throughout, this is pooling by two. An odd axis keeps its last voxel. An
    axis of two is left as it is, so that coarse grids pass through deep networks, and batch norm
    sees several voxels even of a single volume.
    """

    def __init__(self, pool: Callable[..., Tensor]) -> None:
        """Pool with `F.max_pool3d` or `F.avg_pool3d`."""
        super().__init__()
        self.pool = pool

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, C, ⌈T/2⌉, ⌈H/2⌉, ⌈W/2⌉), but for axes of one or two."""
        return self.pool(
            x_BCTHW, tuple(2 if size > 2 else 1 for size in x_BCTHW.shape[2:]), ceil_mode=True
        )
