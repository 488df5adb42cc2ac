"""The study's cost on a GPU: one epoch of its six variants, on fold 0 of cohorts of three sizes.

Ways to train them, in processes of their own:

- ours, so many variants at a time (`--packed`): one after another as jobs of one run each, or all
  six on the GPU at once, as `cluster.runs_per_gpu=6` does;
- the usual script, one after another: volumes of 2 mm from HDF5 through loader workers that rotate,
  scale and flip them, fp16 autocast with a GradScaler, eager, fetching the loss at each step.

Every variant first trains an epoch that is not counted. Kinetics weights cost what scratch costs,
so those variants start from random files in Kinetics' format. From the largest cohort follow the
hours of the whole study, 6 variants × 3 folds × 50 epochs.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any
from unittest import mock

from cohort import PAPER_SUBJECTS, config_for, write_cache
from common import (
    Row,
    add_device,
    find_device,
    new_parser,
    peer_off_cudnn,
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
WAIT_S = 600.0  # for the slowest of several processes

Epoch = Callable[[], object]
# Hears each way's seconds as soon as they are known.
Tell = Callable[[str, float], None]
# Makes a run of a variant, one of so many on the device.
Maker = Callable[[Config, Any, int], Epoch]


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


def our_run(config: Config, device: Any, side_by_side: int) -> Epoch:
    """A run of ours; its epoch."""
    from training_steps import accelerator_for

    from stfmri.learning.training import Run

    model = config.model
    folder = private_dir(Path(config.root) / "runs" / f"{model.name}-{model.weights}" / "fold0")
    return Run(config, folder, accelerator_for(device), side_by_side).train_epoch


def usual_run(config: Config, device: Any, side_by_side: int) -> Epoch:  # noqa: ARG001
    """The usual script; its epoch."""
    from usual_script import UsualScript

    return UsualScript(config, device).train_epoch


def be_one_process(
    maker: Maker, configs: Sequence[Config], device_name: str, ready: Any, answer: Any
) -> None:
    """Train two epochs of each variant in turn; send when the second ones began and ended.

    Where anything fails, send its traceback instead.
    """
    sys.stdout = sys.stderr  # where epochs are told; the table alone goes to standard output
    try:
        answer.send([timed_epoch(maker, config, device_name, ready) for config in configs])
    except Exception:
        answer.send(traceback.format_exc())


def timed_epoch(maker: Maker, config: Config, device_name: str, ready: Any) -> tuple[float, float]:
    """When an epoch began and ended that all processes train at the same time."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    device = find_device(device_name)
    epoch = maker(config, device, ready.parties)
    epoch()
    ready.wait(WAIT_S)
    started = time.time()
    epoch()
    ended = time.time()
    ready.wait(WAIT_S)  # or the next variant's start would disturb the others
    del epoch
    gc.collect()
    if device.type == "cuda":
        import torch

        torch.cuda.empty_cache()
    return started, ended


def together(maker: Maker, configs: Sequence[Config], packed: int, device_name: str) -> float:
    """Seconds that an epoch of every variant takes, so many at a time.

    Raises:
        RuntimeError: as soon as a process fails, with its message; the others are ended.
    """
    context = get_context("spawn")
    ready = context.Barrier(packed)
    threads = max(1, len(os.sched_getaffinity(0)) // packed)
    # As launch/job.py shares the cores out
    shared = {"OMP_NUM_THREADS": str(threads), "SLURM_CPUS_PER_TASK": str(threads)}
    processes = {}
    with mock.patch.dict(os.environ, shared):
        for first in range(packed):
            receiver, sender = context.Pipe(duplex=False)
            arguments = (maker, configs[first::packed], device_name, ready, sender)
            process = context.Process(target=be_one_process, args=arguments)
            process.start()
            sender.close()  # so that the end of the process is the end of the pipe
            processes[receiver] = process
    try:
        turns = zip(*answers(processes), strict=True)
        return sum(max(end for _, end in turn) - min(start for start, _ in turn) for turn in turns)
    finally:
        for process in processes.values():
            process.terminate()
            process.join()


def answers(processes: dict[Any, Any]) -> list[list[tuple[float, float]]]:
    """What each process sends.

    Raises:
        RuntimeError: with the message of the first that fails.
    """
    found = []
    waiting = list(processes)
    while waiting:
        for receiver in connection.wait(waiting):
            waiting.remove(receiver)
            try:
                answer = receiver.recv()
            except EOFError:
                processes[receiver].join()
                answer = f"it ended with exit status {processes[receiver].exitcode}"
            if isinstance(answer, str):
                raise RuntimeError(f"a training process failed:\n{answer}")
            found.append(answer)
    return found


def measure(
    config: Config,
    variants: Sequence[tuple[str, str]],
    device_name: str,
    rounds: int,
    packings: Sequence[int],
    tell: Tell,
) -> dict[str, list[float]]:
    """Seconds of an epoch of every variant, each way, in turn.

    The usual script is first and the most at a time follow, since the mark is about these two.
    """
    configs = [variant_config(config, *variant) for variant in variants]
    ways: dict[str, tuple[Maker, int]] = {
        way_name(packed): (our_run, packed) for packed in sorted(packings)
    }
    ways["usual"] = (usual_run, 1)
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (maker, packed) in reversed(ways.items()):
            taken[way].append(together(maker, configs, packed, device_name))
            tell(way, taken[way][-1])
    return taken


def way_name(packed: int) -> str:
    """What so many variants at a time are called."""
    return "one by one" if packed == 1 else f"{packed} at a time"


def rows_of(
    measured: dict[int, dict[str, list[float]]], judged: bool = True
) -> tuple[list[Row], list[str]]:
    """A row for each cohort size and way, linearity, and the whole study's hours.

    The mark is for the last way of ours.

    Args:
        measured: seconds of each way by cohort size, the usual script's last.
        judged: whether the peer is one to be measured against.
    """
    rows = []
    middle = {
        count: {way: statistics.median(seconds) for way, seconds in taken.items()}
        for count, taken in measured.items()
    }
    for count, seconds in middle.items():
        *ours, _ = seconds
        for way in ours:
            ratio = seconds["usual"] / seconds[way]
            marked = way == ours[-1]
            rows.append(
                Row(
                    f"six epochs, {count} subjects, {way}",
                    seconds_text(seconds[way]),
                    seconds_text(seconds["usual"]),
                    f"{ratio:.2f}×",
                    f"≥ {MARK:g}×" if marked else "",
                    ratio >= MARK if marked and judged else None,
                )
            )
    few, most = min(middle), max(middle)
    for way in list(middle[most])[:-1] if few != most else ():
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


def tell(way: str, seconds: float) -> None:
    """Say on standard error how long an epoch of every variant took."""
    print(f"  {way}: {seconds_text(seconds)}", file=sys.stderr, flush=True)


def main() -> int:
    """Print the table; 1 where a mark is missed."""
    parser = new_parser(__doc__ or "", "On a CPU only --quick is of use.")
    add_device(parser)
    parser.add_argument("--rounds", type=int, default=1, help="turns of each (default 1)")
    parser.add_argument("--subjects", type=int, nargs="+", default=SUBJECTS)
    parser.add_argument(
        "--packed",
        type=int,
        nargs="+",
        choices=(1, 2, 3, 6),
        default=(1, 6),
        help="variants at a time (default 1 6)",
    )
    options = parser.parse_args()
    device = find_device(options.device)
    measured = {}
    for count in (6,) if options.quick else options.subjects:
        with tempfile.TemporaryDirectory() as name, said_on_stderr(f"{count} subjects"):
            config = config_for(Path(name), toy=options.quick)
            write_cache(config, count)
            write_weights(Path(name))
            variants = VARIANTS[-2:] if options.quick else VARIANTS
            packings = (1, 2) if options.quick else options.packed
            measured[count] = measure(config, variants, device.type, options.rounds, packings, tell)
    off = peer_off_cudnn(device)
    rows, notes = rows_of(measured, judged=not off)
    notes += [off] if off else []
    return publish(
        "study", rows, quick=options.quick, packages=PACKAGES, device=device, notes=notes
    )


if __name__ == "__main__":
    sys.exit(main())
