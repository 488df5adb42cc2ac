"""The study's cost on a GPU: one epoch of its six variants, on fold 0 of cohorts of three sizes.

Three ways to train them, each variant in a process of its own:

- ours, one after another, as jobs of one run each;
- ours packed, all six on the GPU at once, as `cluster.runs_per_gpu=6` does;
- the usual script, one after another: volumes of 2 mm from HDF5 through loader workers that rotate,
  scale and flip them, fp16 autocast with a GradScaler, eager, fetching the loss at each step.

Every process first trains an epoch that is not counted. Kinetics weights cost what scratch costs,
so those variants start from random files in Kinetics' format. From the largest cohort follow the
hours of the whole study, 6 variants × 3 folds × 50 epochs.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

from cohort import PAPER_SUBJECTS, config_for, write_cache
from common import (
    Row,
    add_device,
    find_device,
    new_parser,
    publish,
    said_on_stderr,
    seconds_text,
)

from stfmri.study.config import Config
from stfmri.study.files import private_dir, sha256_of
from stfmri.study.overrides import replaced

PACKAGES = ("torch", "torchvision", "accelerate", "h5py", "numpy")
VARIANTS = tuple(
    (model, weights)
    for model in ("r3d_18", "r2plus1d_18", "mc3_18")
    for weights in ("scratch", "kinetics")
)
SUBJECTS = (148, 296, PAPER_SUBJECTS)
MARK, LINEAR_MARK = 4.0, 1.1
EPOCHS, FOLDS = 50, 3
WAIT_S = 600.0


def variant_config(config: Config, model: str, weights: str) -> Config:
    """A run of the study; Kinetics weights come from a random file."""
    values: dict[str, Any] = {"model.name": model, "model.weights": weights}
    if weights == "kinetics":
        file = Path(config.root) / f"{model}.pth"
        values |= {"model.weights_file": str(file), "model.weights_hash": sha256_of(file)[:8]}
    return replaced(config, values)


def write_weights(root: Path) -> None:
    """Random weights in Kinetics' format, one file a network."""
    import torch

    from stfmri.learning.models import network_named

    for name in dict.fromkeys(model for model, weights in VARIANTS if weights == "kinetics"):
        torch.save(network_named(name).ready["kinetics"]().state_dict(), root / f"{name}.pth")


def our_epoch(config: Config, device_name: str, ready: Any, results: Any) -> None:
    """Be one process of ours: train an epoch, wait for the others, train the one that counts."""
    from training_steps import accelerator_for

    from stfmri.learning.training import Run

    sys.stdout = sys.stderr  # where epochs are told; the table alone goes to standard output
    model = config.model
    run = private_dir(Path(config.root) / "runs" / f"{model.name}-{model.weights}" / "fold0")
    training = Run(
        config, run, accelerator_for(find_device(device_name)), side_by_side=ready.parties
    )
    training.train_epoch()
    ready.wait(WAIT_S)
    started = time.time()
    training.train_epoch()
    results.put((started, time.time()))


def usual_epoch(config: Config, device_name: str, ready: Any, results: Any) -> None:
    """Be one process of the usual script."""
    from usual_script import UsualScript

    script = UsualScript(config, find_device(device_name))
    script.train_epoch()
    ready.wait(WAIT_S)
    started = time.time()
    script.train_epoch()
    results.put((started, time.time()))


def together(target: Any, configs: Sequence[Config], device_name: str) -> float:
    """Seconds from the start of the counted epochs to the end of the last, all at once.

    Raises:
        RuntimeError: where a process fails.
    """
    context = get_context("spawn")
    ready, results = context.Barrier(len(configs)), context.Queue()
    threads = max(1, len(os.sched_getaffinity(0)) // len(configs))
    # As launch/job.py shares the cores out
    shared = {"OMP_NUM_THREADS": str(threads), "SLURM_CPUS_PER_TASK": str(threads)}
    processes = [
        context.Process(target=target, args=(config, device_name, ready, results))
        for config in configs
    ]
    with mock.patch.dict(os.environ, shared):
        for process in processes:
            process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError("a training process failed; its error stands above")
    times = [results.get() for _ in processes]
    return max(end for _, end in times) - min(start for start, _ in times)


def measure(
    config: Config, variants: Sequence[tuple[str, str]], device_name: str, rounds: int
) -> dict[str, list[float]]:
    """Seconds of an epoch of every variant, each way, in turn."""
    configs = [variant_config(config, *variant) for variant in variants]
    taken: dict[str, list[float]] = {"ours": [], "packed": [], "usual": []}
    for _ in range(rounds):
        taken["ours"].append(sum(together(our_epoch, [one], device_name) for one in configs))
        taken["packed"].append(together(our_epoch, configs, device_name))
        taken["usual"].append(sum(together(usual_epoch, [one], device_name) for one in configs))
    return taken


def rows_of(measured: dict[int, dict[str, list[float]]]) -> tuple[list[Row], list[str]]:
    """Two rows a cohort size, linearity, and the whole study's hours."""
    rows = []
    middle = {
        count: {way: statistics.median(seconds) for way, seconds in taken.items()}
        for count, taken in measured.items()
    }
    for count, seconds in middle.items():
        for way in ("ours", "packed"):
            ratio = seconds["usual"] / seconds[way]
            packed = way == "packed"
            rows.append(
                Row(
                    f"six epochs, {count} subjects, {'packed' if packed else 'one by one'}",
                    seconds_text(seconds[way]),
                    seconds_text(seconds["usual"]),
                    f"{ratio:.2f}×",
                    f"≥ {MARK:g}×" if packed else "",
                    ratio >= MARK if packed else None,
                )
            )
    few, most = min(middle), max(middle)
    for way in ("ours", "packed") if few != most else ():
        growth = middle[most][way] / middle[few][way] / (most / few)
        rows.append(
            Row(
                f"seconds a subject, {most} over {few}, {way}",
                f"{growth:.2f}×",
                mark=f"linear (≤ {LINEAR_MARK}×)",
                met=growth <= LINEAR_MARK,
            )
        )
    notes = []
    for way, epoch in middle[most].items():
        hours = epoch * EPOCHS * FOLDS / 3600
        notes.append(
            f"The whole study, {way}: {epoch:.1f} s for an epoch of the six variants on one fold "
            f"× {EPOCHS} epochs × {FOLDS} folds = {hours:.2f} h of training ({most} subjects)."
        )
    return rows, notes


def main() -> int:
    """Print the table; 1 where a mark is missed."""
    parser = new_parser(__doc__ or "", "On a CPU only --quick is of use.")
    add_device(parser)
    parser.add_argument("--rounds", type=int, default=1, help="turns of each (default 1)")
    parser.add_argument("--subjects", type=int, nargs="+", default=SUBJECTS)
    options = parser.parse_args()
    device = find_device(options.device)
    measured = {}
    for count in (12,) if options.quick else options.subjects:
        with tempfile.TemporaryDirectory() as name, said_on_stderr(f"{count} subjects"):
            config = config_for(Path(name), toy=options.quick)
            write_cache(config, count)
            write_weights(Path(name))
            variants = VARIANTS[-2:] if options.quick else VARIANTS
            measured[count] = measure(config, variants, device.type, options.rounds)
    rows, notes = rows_of(measured)
    return publish(
        "study", rows, quick=options.quick, packages=PACKAGES, device=device, notes=notes
    )


if __name__ == "__main__":
    sys.exit(main())
