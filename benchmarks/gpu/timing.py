"""The time that the device itself takes, without the host's."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median

import torch

WARM_UP = 3  # cuDNN's search, Triton's compiler
TIMES = 10
CALLS = 4  # in a graph, so that its own launch counts for little


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """Median time of a call.

    On a GPU the call is captured as a CUDA graph: launching single kernels from Python would take
    longer than many of them run.
    """
    if device.type == "cpu":
        return _on_the_clock(run)
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            run()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(TIMES + 1)]
    graph.replay()
    for number, event in enumerate(events):
        if number:
            graph.replay()
        event.record()
    torch.cuda.synchronize(device)
    return median(before.elapsed_time(after) for before, after in pairwise(events)) / CALLS


def _on_the_clock(run: Callable[[], object]) -> float:
    run()
    started = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - started)
