"""Batch norm, rectifier and residual of the video ResNets in one pass over memory, on a GPU.

These layers compute little and move much. One after another they read or write the activations 13
times in a training step (15 with a residual, 20 in all), together 8 times (11).
"""

from __future__ import annotations

from stfmri.learning.fused_norm.layers import FusedNorm, fuse, why_not

__all__ = ["FusedNorm", "fuse", "why_not"]
