"""What captures, runs and steps ask of CUDA, seen in one process on the null device.

`python -m tests.cuda.inside tests.cuda.observe FOLDER` writes `FOLDER/seen.json`. To import PyTorch
takes longer than all that the process does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stfmri import train
from stfmri.learning.acceleration import accelerator_of
from stfmri.learning.data import Batch
from stfmri.learning.learner import Learner
from stfmri.learning.training import Run
from stfmri.study import config as configuration
from stfmri.study.overrides import replaced
from tests.cuda.cases import EPOCHS, RUNS, STEPS, STEPS_IN_EPOCH, Steps
from tests.cuda.inside import counts, illegal_calls, runtime_allocation
from tests.tiny import tiny_cache, tiny_config


def frozen(root: Path, name: str, values: dict[str, Any]) -> Path:
    """The configuration file of a run on a tiny cohort."""
    config = replaced(tiny_config(root), {"train.epochs": EPOCHS, "train.steps": 0, **values})
    if not (config.cache / "index.csv").exists():
        tiny_cache(config)
    file = root / "runs" / name / "fold0" / "config.yaml"
    configuration.save(config, file)
    return file


def observe_runs(root: Path) -> dict[str, Any]:
    """Train each of RUNS by its command; count what every epoch asks of CUDA until its end."""
    epochs: list[dict[str, int]] = []
    learn = Learner.learn

    def counted(learner: Learner, batches: Iterable[Batch]) -> Tensor:
        before = counts()
        loss_sum = learn(learner, batches)
        epochs.append(asdict(counts() - before))
        return loss_sum

    Learner.learn = counted  # type: ignore[method-assign]
    seen = {}
    for name, values in RUNS.items():
        AcceleratorState._reset_state(reset_partial_state=True)
        epochs.clear()
        file = frozen(root, name, {"model.name": "sfcn", **values})
        status = train.main(["--config", str(file)])
        seen[name] = {
            "status": status,
            "folder": str(file.parent),
            "epochs": list(epochs),
            "illegal": illegal_calls(),
        }
    return seen


class Recorder(TorchDispatchMode):
    """Notes each operator and the tensors that it is given and gives."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Any]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        given, gave = tree_leaves((args, kwargs)), tree_leaves(result)
        self.calls.append(
            {
                "operator": function.overloadpacket.__name__,
                "inputs": [described(one) for one in given if isinstance(one, Tensor)],
                "outputs": [described(one) for one in gave if isinstance(one, Tensor)],
            }
        )
        return result


def described(tensor: Tensor) -> dict[str, Any]:
    """Device, dtype, shape and layout of a tensor."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.ndim)
    return {
        "device": tensor.device.type,
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "size": tensor.numel(),
        "shape": list(tensor.shape),
        "strides": list(tensor.stride()),
        "channels_last": last is not None and tensor.is_contiguous(memory_format=last),
    }


def observe_steps(root: Path) -> dict[str, Any]:
    """Each of STEPS: the operators of the first ones, and what later epochs ask of CUDA."""
    return {steps.name: observed(steps, root) for steps in STEPS}


def observed(steps: Steps, root: Path) -> dict[str, Any]:
    """The operators of two steps, then the counts of two epochs; the first captures the step."""
    values = {"model.name": steps.network, "train.precision": steps.precision}
    config = configuration.load(frozen(root, "steps", values))
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = accelerator_of(config)
    run = Run(config, root / "unused", accelerator)

    def learn(count: int) -> None:
        order = [list(range(steps.batch_size))] * count
        run.learner.learn(run.train_part.batches(order, run.learner.epoch))

    with Recorder() as recorder:
        learn(2)
    epochs = []
    for _ in range(2):
        before = counts()
        learn(STEPS_IN_EPOCH)
        epochs.append(asdict(counts() - before))
    taken = run.learner.steps_taken()
    accelerator.free_memory()
    return {"operators": recorder.calls, "epochs": epochs, "taken": taken}


def observe_capture(root: Path) -> dict[str, Any]:
    """What the null device says of calls in a capture, each in a capture of its own."""
    device = torch.device("cuda")
    held = torch.zeros(8, device=device)
    host, pinned = torch.ones(8), torch.ones(8).pin_memory()
    other, event = torch.cuda.Stream(), torch.cuda.Event()
    event.record()

    def elsewhere() -> None:
        with torch.cuda.stream(other):
            held.add_(1)

    def forked_and_joined() -> None:
        other.wait_stream(torch.cuda.current_stream())
        elsewhere()
        torch.cuda.current_stream().wait_stream(other)

    calls: dict[str, Callable[[], object]] = {
        "kernel": lambda: held.add_(1),
        "allocation in the pool": lambda: torch.empty(1 << 26, device=device),
        "copy from pinned memory": lambda: held.copy_(pinned, non_blocking=True),
        "stream forked and joined": forked_and_joined,
        "copy from pageable memory": lambda: held.copy_(host),
        "value fetched": lambda: held.sum().item(),
        "device synchronised": torch.cuda.synchronize,
        "stream synchronised": lambda: torch.cuda.current_stream().synchronize(),
        "event queried": event.query,
        "another stream's kernel": elsewhere,
        "allocation outside of the pool": runtime_allocation,
    }
    return {name: captured(call) for name, call in calls.items()}


def captured(call: Callable[[], object]) -> dict[str, Any]:
    """The nodes of a captured call, the error that it raised, and what was illegal in it."""
    before, known = counts(), len(illegal_calls())
    error = ""
    try:
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            call()
    except RuntimeError as raised:
        error = str(raised).splitlines()[0]
    made = counts() - before
    return {
        "nodes": counts().nodes if made.captures else 0,
        "error": error,
        "illegal": illegal_calls()[known:],
    }


def main() -> None:
    """Observe, and write what was seen."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    # A refused capture leaves PyTorch's generator unusable, hence it comes last.
    observers = {"runs": observe_runs, "steps": observe_steps, "capture": observe_capture}
    seen = {kind: observe(folder) for kind, observe in observers.items()}
    (folder / "seen.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main()
