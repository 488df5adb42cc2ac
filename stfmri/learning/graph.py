"""A training step recorded once as a CUDA graph, then launched as a whole.

Taken layer by layer, a step of a 3D ResNet launches 300 to 500 kernels and costs the host 5 to 8
ms, longer than an H100 computes at batch 1. Launching the graph costs it a tenth of that.

What a graph replays are the same kernels with the same arguments, so all that changes from step to
step must lie at fixed addresses on the device: the volumes, the labels, the learning rate, the loss
scale, the state of the optimiser. See PyTorch's 'CUDA semantics', section 'CUDA graphs'.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from stfmri.study.errors import TrainingError, first_line

# As they are, in steps that count like all others: cuDNN compares its algorithms in the first one,
# and the optimiser and the loss scaler create their state.
FIRST_STEPS = 3

Step = Callable[[Tensor, Tensor], Tensor]


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all runs of a process: cuBLAS keeps working memory for every stream that it meets."""
    return torch.cuda.Stream(device)


class CapturedStep:
    """A step on (input, labels) that returns a loss; batches of the first shape are replayed.

    Others, such as the last one of an epoch, are computed layer by layer.
    """

    def __init__(self, step: Step, device: torch.device) -> None:
        """Capture `step` when it has been taken `FIRST_STEPS` times.

        Args:
            step: moves the weights and returns a detached loss, without waiting for the device.
        """
        self._step = step
        self._side = _side_stream(device)
        self._shape: torch.Size | None = None
        self._taken = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, input_BCTHW: Tensor, label_B: Tensor) -> Tensor:
        """Take a step; the loss lives until the next one."""
        if self._shape is None:
            self._shape = input_BCTHW.shape
        if input_BCTHW.shape != self._shape:
            return self._step(input_BCTHW, label_B)
        if self._taken < FIRST_STEPS:
            self._taken += 1
            return self._beside(input_BCTHW, label_B)
        if self._graph is None:
            self._graph = self._captured(input_BCTHW, label_B)
        self._input.copy_(input_BCTHW)
        self._label.copy_(label_B)
        self._graph.replay()
        return self._loss

    def _beside(self, input_BCTHW: Tensor, label_B: Tensor) -> Tensor:
        """Take a step on a stream of its own, as must be done before a capture."""
        main = torch.cuda.current_stream(self._side.device)
        self._side.wait_stream(main)
        with torch.cuda.stream(self._side):
            loss = self._step(input_BCTHW, label_B)
        main.wait_stream(self._side)
        return loss

    def _captured(self, input_BCTHW: Tensor, label_B: Tensor) -> torch.cuda.CUDAGraph:
        """Record a step; nothing is computed."""
        self._input, self._label = input_BCTHW.clone(), label_B.clone()
        graph = torch.cuda.CUDAGraph()
        try:
            # Of this thread alone: a loader's thread may pin memory meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._loss = self._step(self._input, self._label)
        except RuntimeError as error:  # of memory, or of a layer that waits for the device
            raise TrainingError(
                f"a step could not be captured as a CUDA graph ({first_line(error)}); use "
                "train.cuda_graph=false"
            ) from error
        return graph
