"""What a run and its steps ask of CUDA, on a device that computes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stfmri.study import history, predictions
from tests.cuda.cases import EPOCHS, RUNS, STEPS, STEPS_IN_EPOCH, Steps

IN_FP16 = [name for name, values in RUNS.items() if values["train.precision"] == "fp16"]
BATCHES = 8  # of an epoch of a run at batch 1
HOST_COPIES = {"_to_copy", "copy_"}
SMALL = 64  # elements: an augmentation's matrix, a batch's numbers and labels
CONVOLUTIONS = {"convolution", "convolution_backward"}
DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}

each_run = pytest.mark.parametrize("name", RUNS)
each_step = pytest.mark.parametrize("steps", STEPS, ids=lambda steps: steps.name)


@each_run
def test_a_run_goes_through_to_its_predictions(name: str, seen: dict[str, Any]) -> None:
    run = seen["runs"][name]
    folder = Path(run["folder"])
    assert run["status"] == 0
    assert len(predictions.read(folder / "predictions.csv").rows) == 4
    assert len(history.read(folder / "metrics.csv")["epoch"]) == EPOCHS
    record = json.loads((folder / "provenance.json").read_text())
    assert record["device"] == "null device"
    assert record["precision"] == RUNS[name]["train.precision"]
    assert record["input"] == ("streamed" if name == "streamed" else "resident")


@pytest.mark.parametrize("name", IN_FP16)
def test_every_step_is_counted_whether_captured_or_not(name: str, seen: dict[str, Any]) -> None:
    metrics = history.read(Path(seen["runs"][name]["folder"]) / "metrics.csv")
    assert metrics["steps"] == [BATCHES] * EPOCHS
    assert metrics["skipped_steps"] == [0] * EPOCHS
    assert metrics["loss_scale"] == [2.0**16] * EPOCHS


@each_run
def test_nothing_in_an_epoch_waits_for_the_device_or_fetches_from_it(
    name: str, seen: dict[str, Any]
) -> None:
    for epoch in seen["runs"][name]["epochs"][1:]:
        assert epoch["waits"] == 0
        assert epoch["copies_out"] == 0
        assert epoch["pageable"] == 0


@each_run
def test_in_the_end_memory_is_no_longer_taken_from_the_device(
    name: str, seen: dict[str, Any]
) -> None:
    assert seen["runs"][name]["epochs"][-1]["allocations"] == 0


@each_run
def test_steps_are_replayed_from_one_graph_unless_gradients_are_added_up(
    name: str, seen: dict[str, Any]
) -> None:
    epochs = seen["runs"][name]["epochs"]
    captured = name != "accumulated"
    assert sum(epoch["captures"] for epoch in epochs) == captured
    assert epochs[-1]["replays"] == captured * BATCHES
    assert seen["runs"][name]["illegal"] == []


@each_step
def test_a_captured_step_holds_all_but_the_input_in_one_graph(
    steps: Steps, seen: dict[str, Any]
) -> None:
    """The rest is the gather of the batch, its augmentation and the learning rate."""
    found = seen["steps"][steps.name]
    first, second = found["epochs"]
    assert first["captures"] == 1
    assert first["illegal"] == second["illegal"] == 0
    assert first["nodes"] > 190
    assert second["captures"] == 0
    assert second["replays"] == STEPS_IN_EPOCH
    assert second["waits"] == second["copies_out"] == 0
    assert second["launches"] <= 25 * STEPS_IN_EPOCH
    assert found["taken"] == 2 + 2 * STEPS_IN_EPOCH


@each_step
def test_only_small_tensors_of_a_step_are_on_the_host(steps: Steps, seen: dict[str, Any]) -> None:
    for call in seen["steps"][steps.name]["operators"]:
        tensors = call["inputs"] + call["outputs"]
        assert all(one["size"] <= SMALL for one in tensors if one["device"] == "cpu"), call
        if len({one["device"] for one in tensors if one["size"] > 1}) > 1:
            assert call["operator"] in HOST_COPIES


@each_step
def test_convolutions_compute_in_the_runs_precision_with_channels_last(
    steps: Steps, seen: dict[str, Any]
) -> None:
    operators = seen["steps"][steps.name]["operators"]
    calls = [call for call in operators if call["operator"] in CONVOLUTIONS]
    assert len(calls) >= 2 * 2 * 20  # both ways, in two steps
    for call in calls:
        for tensor in call["inputs"]:
            assert tensor["dtype"] == DTYPES[steps.precision], call
            assert tensor["channels_last"], call


@each_step
def test_batch_norm_keeps_channels_last_both_ways(steps: Steps, seen: dict[str, Any]) -> None:
    """A batch of one may have a stride that hides its layout: then batch norm makes copies."""
    operators = seen["steps"][steps.name]["operators"]
    calls = [call for call in operators if call["operator"].startswith("native_batch_norm")]
    assert len(calls) >= 2 * 2 * 20
    for call in calls:
        assert call["outputs"][0]["channels_last"], call


@each_step
def test_the_loss_and_the_optimiser_compute_in_fp32(steps: Steps, seen: dict[str, Any]) -> None:
    operators = seen["steps"][steps.name]["operators"]
    adam = [call for call in operators if call["operator"] == "_fused_adam_"]
    losses = [call for call in operators if call["operator"] == "_log_softmax"]
    assert len(adam) == len(losses) == 2
    for call in adam + losses:
        for tensor in call["inputs"]:
            assert (tensor["device"], tensor["dtype"]) == ("cuda", "float32"), call
