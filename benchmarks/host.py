"""What a training step costs the host, and how often it launches a kernel: on no GPU at all.

PyTorch's own CUDA code runs on a device that computes nothing (`tests/cuda/null_device.py`), so
that the seconds are the host's alone: the least of its processors' time over many steps.
Convolutions and matrix products, whose libraries need a driver, are replaced by a Python function
each that makes an output, in the place of cuDNN's and cuBLAS's own work on the host. On a GPU a
step takes at least as long as its host.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import Row, new_parser, publish, seconds_text

PACKAGES = ("torch", "torchvision", "accelerate")
SHAPE, TOY_SHAPE = (78, 120, 120), (8, 24, 24)
STEPS = 40
OUTPUT = "host.json"


def observe(folder: Path, toy: bool) -> None:
    """Be the process on the null device: write what a step asks, by network and way."""
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from training_steps import CLASSES, CONFIG, MODELS, WEIGHTS, UsualStep

    from stfmri.learning import models
    from stfmri.learning.data import Batch
    from stfmri.learning.graph import FIRST_STEPS
    from stfmri.learning.learner import Learner
    from stfmri.study.config.training import AugmentConfig, ModelConfig
    from tests.cuda.inside import counts

    torch.set_num_threads(1)
    device = torch.device("cuda")
    shape = TOY_SHAPE if toy else SHAPE
    volume = torch.empty((1, 1, *shape), dtype=torch.float16, device=device)
    label = torch.zeros(1, dtype=torch.int64, device=device)

    def our_step(name: str, captured: bool) -> Callable[[], object]:
        AcceleratorState._reset_state(reset_partial_state=True)
        model = ModelConfig(name=name)
        config = replace(
            CONFIG,
            model=model,
            augment=AugmentConfig(),
            train=replace(CONFIG.train, cuda_graph=captured),
        )
        learner = Learner(
            models.build(model, CLASSES, 0),
            config,
            torch.tensor(WEIGHTS),
            Accelerator(mixed_precision="fp16"),
            batches=1,
        )
        learner.network.train()
        return lambda: learner.step(Batch(volume, label, [0]))

    def usual_step(name: str) -> Callable[[], object]:
        step = UsualStep(name, device)
        return lambda: step(volume, label)

    seen: dict[str, dict[str, Any]] = {}
    for name in MODELS:
        makers = {
            "captured": lambda name=name: our_step(name, captured=True),
            "eager": lambda name=name: our_step(name, captured=False),
            "usual": lambda name=name: usual_step(name),
        }
        for way, make in makers.items():
            step = make()
            for _ in range(FIRST_STEPS + 2):
                step()
            before = counts()
            step()
            asked = counts() - before
            host = [processor_seconds(step) for _ in range(STEPS)]
            seen[f"{name} {way}"] = {
                "seconds": min(host),
                "launches": asked.launches,
                "replays": asked.replays,
                "nodes": asked.nodes,
            }
    (folder / OUTPUT).write_text(json.dumps(seen), encoding="utf-8")


def processor_seconds(step: Callable[[], object]) -> float:
    """Of all threads of the process, whatever else the machine does."""
    started = time.process_time()
    step()
    return time.process_time() - started


def rows_of(seen: dict[str, dict[str, Any]]) -> list[Row]:
    """Two rows a network and way."""
    rows = []
    for key, found in seen.items():
        name, way = key.split()
        if way == "usual":
            continue
        usual = seen[f"{name} usual"]
        label = f"{name}, {'one graph' if way == 'captured' else 'layer by layer'}"
        rows.append(
            Row(
                f"{label}: host, a step",
                seconds_text(found["seconds"]),
                seconds_text(usual["seconds"]),
                f"{usual['seconds'] / found['seconds']:.2f}×",
            )
        )
        graph = f" and a graph of {found['nodes']}" if found["replays"] else ""
        launches = f"{found['launches']}{graph}"
        rows.append(Row(f"{label}: launches, a step", launches, str(usual["launches"])))
    return rows


def main() -> int:
    """Print the table."""
    parser = new_parser(__doc__ or "", "Needs a C compiler and a PyTorch with CUDA.")
    parser.add_argument("--inside", type=Path, metavar="FOLDER", help="be the process that steps")
    options = parser.parse_args()
    if options.inside:
        observe(options.inside, options.quick)
        return 0
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.cuda import null_device

    with tempfile.TemporaryDirectory() as name:
        device = null_device.build(Path(name))
        quick = ["--quick"] if options.quick else []
        done = device.run("host", "--inside", name, *quick)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return 1
        seen = json.loads((Path(name) / OUTPUT).read_text(encoding="utf-8"))
    return publish(
        "host, measured on the null device", rows_of(seen), quick=options.quick, packages=PACKAGES
    )


if __name__ == "__main__":
    sys.exit(main())
