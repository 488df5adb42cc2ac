"""The null device allows in a capture what CUDA allows, and names what it does not."""

from __future__ import annotations

from typing import Any

import pytest

ALLOWED = {
    "kernel": 1,
    "allocation in the pool": 0,
    "copy from pinned memory": 1,
    "stream forked and joined": 1,
}
REFUSED = {
    "copy from pageable memory": "unless the CPU tensor is pinned",  # PyTorch's own words
    "value fetched": "cudaStreamSynchronize",
    "device synchronised": "cudaDeviceSynchronize",
    "stream synchronised": "cudaStreamSynchronize",
    "event queried": "cudaEventQuery",
    "another stream's kernel": "launch outside of the captured stream",
    "allocation outside of the pool": "cudaMalloc",
}


@pytest.mark.parametrize("call", ALLOWED)
def test_what_a_graph_can_hold_is_captured(call: str, seen: dict[str, Any]) -> None:
    assert seen["capture"][call] == {"nodes": ALLOWED[call], "error": "", "illegal": []}


@pytest.mark.parametrize("call", REFUSED)
def test_what_a_graph_cannot_hold_is_refused_by_name(call: str, seen: dict[str, Any]) -> None:
    found = seen["capture"][call]
    assert found["nodes"] == 0
    assert REFUSED[call] in found["illegal"] or REFUSED[call] in found["error"]


def test_every_call_that_is_tried_is_expected_here(seen: dict[str, Any]) -> None:
    assert seen["capture"].keys() == ALLOWED.keys() | REFUSED.keys()
