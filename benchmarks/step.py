"""A training step (forward, backward, optimiser) against the usual script's.

On a CPU the peer is the plain torchvision network: fp32, eager, contiguous. On a GPU it is the same
under fp16 autocast with a GradScaler, fetching its loss at each step; there the best batch size of
either is compared too, and peak memory at batch 1 is measured. Ours is what a run does: see
benchmarks/training_steps.py. What limits a step is shown as its share of the bound that
benchmarks/roofline.py counts.

`--loss` trains either 50 steps from five seeds, and compares the mean loss of steps 41–50.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import roofline
import torch
from accelerate import Accelerator
from cohort import volume
from common import (
    Row,
    add_device,
    alternate,
    find_device,
    new_parser,
    paired_ratio,
    peer_off_cudnn,
    publish,
    said_on_stderr,
    seconds_text,
    synchronise,
)
from torch import Tensor
from training_steps import CLASSES, MODELS, OurStep, UsualStep, accelerator_for, let_go

from stfmri.learning import device as devices
from stfmri.learning import models
from stfmri.study.config.training import ModelConfig
from stfmri.study.errors import TrainingError

SHAPE = (78, 120, 120)
TOY_SHAPE = (8, 24, 24)
MARKS = {"cpu": 4.0, "cuda": 2.5}
ROOFLINE_MARK = 0.5
MEMORY_MARK = 8e9  # bytes: the paper's card
# At 64 an activation of r2plus1d_18 has more than 2³¹ elements, which not every kernel can index.
BATCHES = (2, 4, 8, 16, 32)
VOLUMES = {"cpu": 1, "cuda": 20}  # between two readings of the clock, or a batch if that is more
WARM_UP = 3  # so many steps until a process has all the memory that it will use again
SEEDS, LOSS_STEPS, LOSS_TAIL = 5, 50, 10
PACKAGES = ("torch", "torchvision", "accelerate")

Step = OurStep | UsualStep


def batch_of(size: int, shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Volumes float16 (B, 1, D, H, W) and classes (B,) on the device."""
    labels = [number % CLASSES for number in range(size)]
    volumes = [volume(n, shape, label / (CLASSES - 1)) for n, label in enumerate(labels)]
    return torch.from_numpy(np.stack(volumes)).to(device), torch.tensor(labels, device=device)


def repeat(step: Step, batch: tuple[Tensor, Tensor], times: int) -> None:
    """Take some steps and wait for them."""
    for _ in range(times):
        step(*batch)
    synchronise(batch[0].device)


def best_batch(
    make: Callable[[], Step],
    accelerator: Accelerator,
    shape: tuple[int, ...],
    sizes: Sequence[int] = BATCHES,
) -> int:
    """Of some batch sizes that with the most volumes a second.

    It takes half of the device's memory at most, so that the peer's step has room beside it.
    """
    rates = {1: 0.0}
    with _half_of_the_memory(accelerator.device):
        for size in sizes:
            let_go(accelerator)
            step = make()  # a captured step replays the size that it met first
            batch = batch_of(size, shape, accelerator.device)
            try:
                taken = alternate({"step": partial(repeat, step, batch, 3)}, rounds=2, warmup=2)
            # cuDNN says of a full memory that it found no engine; a capture fails as TrainingError.
            except (RuntimeError, TrainingError) as error:
                if "memory" not in str(error) and "engine" not in str(error):
                    raise
                print(f"  no batch of {size}: {str(error).splitlines()[0]}", file=sys.stderr)
                break
            finally:
                del step, batch
            rates[size] = size / min(taken["step"])
    return max(rates, key=lambda size: rates[size])


@contextmanager
def _half_of_the_memory(device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_per_process_memory_fraction(0.5)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def peak_bytes(make: Callable[[], Step], batch: tuple[Tensor, Tensor]) -> int:
    """Device memory that a network, its optimiser and its steps take at most."""
    step = make()
    repeat(step, batch, WARM_UP)  # cuDNN's search for its fastest algorithms takes what is free
    torch.cuda.empty_cache()
    devices.forget_peak_memory(batch[0].device)
    repeat(step, batch, 3)
    return torch.cuda.max_memory_reserved()


def speed(
    name: str,
    accelerator: Accelerator,
    rounds: int,
    shape: tuple[int, ...],
    ceilings: roofline.Ceilings,
) -> list[Row]:
    """The rows of one network at batch 1."""
    device = accelerator.device
    rows = []
    makers = _makers(name, accelerator)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # for both, to the peer's advantage
        peak = peak_bytes(makers[0], batch_of(1, shape, device))
        rows.append(
            Row(
                f"{name}, peak memory at batch 1",
                f"{peak / 1e9:.2f} GB",
                mark="< 8 GB",
                met=peak < MEMORY_MARK,
            )
        )
    let_go(accelerator)
    return rows + compare(name, makers, (1, 1), rounds, shape, ceilings, device)


def speed_at_best(
    name: str,
    accelerator: Accelerator,
    rounds: int,
    shape: tuple[int, ...],
    ceilings: roofline.Ceilings,
    batches: Sequence[int] = BATCHES,
) -> list[Row]:
    """The rows of one network on a GPU, either step at the best of some batch sizes."""
    torch.backends.cudnn.benchmark = True
    makers = _makers(name, accelerator)
    own, theirs = (best_batch(make, accelerator, shape, batches) for make in makers)
    let_go(accelerator)
    return compare(name, makers, (own, theirs), rounds, shape, ceilings, accelerator.device)


def _makers(name: str, accelerator: Accelerator) -> tuple[Callable[[], Step], Callable[[], Step]]:
    """What makes our step, and the usual script's."""
    return partial(OurStep, name, accelerator), partial(UsualStep, name, accelerator.device)


def compare(
    name: str,
    makers: tuple[Callable[[], Step], Callable[[], Step]],
    sizes: tuple[int, int],
    rounds: int,
    shape: tuple[int, ...],
    ceilings: roofline.Ceilings,
    device: torch.device,
) -> list[Row]:
    """Both steps in turn, each at its own batch size, in seconds a volume."""
    times = [max(1, VOLUMES[device.type] // size) for size in sizes]
    steps = [make() for make in makers]
    batches = [batch_of(size, shape, device) for size in sizes]
    actions = {
        key: partial(repeat, step, batch, count)
        for key, step, batch, count in zip(("ours", "usual"), steps, batches, times, strict=True)
    }
    taken = alternate(actions, rounds, warmup=WARM_UP)
    own, theirs = (
        [seconds / count / size for seconds in taken[key]]
        for key, size, count in zip(("ours", "usual"), sizes, times, strict=True)
    )
    ratio = paired_ratio(theirs, own)
    with torch.device("meta"):
        ghost = models.build(ModelConfig(name=name), CLASSES, 0)
    bound = roofline.least_seconds(ghost, (sizes[0], 1, *shape), ceilings) / sizes[0]
    share = bound / statistics.median(own)
    label = f"{name}, batch {sizes[0]}"
    label += "" if sizes[0] == sizes[1] else f" (peer {sizes[1]})"
    on_gpu = device.type == "cuda"
    mark = MARKS[device.type] if not on_gpu or sizes[0] == 1 else None
    return [
        Row(
            f"{label}, a volume",
            seconds_text(statistics.median(own)),
            seconds_text(statistics.median(theirs)),
            f"{ratio:.2f}×",
            f"≥ {mark:g}×" if mark else "",
            ratio >= mark if mark and not peer_off_cudnn(device) else None,
        ),
        Row(
            f"{label}, share of the roofline",
            f"{share:.0%}",
            seconds_text(bound),
            mark=f"≥ {ROOFLINE_MARK:.0%}" if on_gpu else "",
            met=share >= ROOFLINE_MARK if on_gpu else None,
        ),
    ]


def tail_loss(step: Step, seed: int, shape: tuple[int, ...], device: torch.device) -> float:
    """Mean loss of the last steps of a short training at batch 1, each volume a new one."""
    torch.manual_seed(seed)  # dropout
    labels = np.random.default_rng(seed).integers(CLASSES, size=LOSS_STEPS)
    losses = []
    for number, label in enumerate(labels.tolist()):
        values = volume(seed * LOSS_STEPS + number, shape, label / (CLASSES - 1))
        batch = torch.from_numpy(values[None]).to(device), torch.tensor([label], device=device)
        losses.append(float(step(*batch)))
    return statistics.fmean(losses[-LOSS_TAIL:])


def loss(name: str, device: torch.device, seeds: int, shape: tuple[int, ...]) -> Row:
    """Mean of the tail losses over the seeds, ours and the peer's, from the same weights."""
    own, theirs = [], []
    for seed in range(seeds):
        accelerator = accelerator_for(device)  # with a scaler as new as the peer's
        own.append(tail_loss(OurStep(name, accelerator, seed), seed, shape, device))
        theirs.append(tail_loss(UsualStep(name, device, seed), seed, shape, device))
        let_go(accelerator)
        print(f"  seed {seed}: {own[-1]:.4f}, peer {theirs[-1]:.4f}", file=sys.stderr)
    spread = statistics.stdev(theirs)
    apart = abs(statistics.fmean(own) - statistics.fmean(theirs))
    return Row(
        f"{name}, loss of steps {LOSS_STEPS - LOSS_TAIL + 1}–{LOSS_STEPS}, {seeds} seeds",
        f"{statistics.fmean(own):.4f} ± {statistics.stdev(own):.4f}",
        f"{statistics.fmean(theirs):.4f} ± {spread:.4f}",
        f"{apart / spread:.2f} SD",
        "within 1 SD",
        apart <= spread,
    )


def main() -> int:
    """Print the table; 1 where a mark is missed."""
    parser = new_parser(__doc__ or "")
    add_device(parser)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default 7)")
    parser.add_argument(
        "--batches",
        type=int,
        nargs="*",
        default=BATCHES,
        help="sizes among which the best is looked for on a GPU; without any, batch 1 alone",
    )
    parser.add_argument("--loss", action="store_true", help="compare losses instead of seconds")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="for --loss (default 5)")
    parser.add_argument(
        "--size",
        type=int,
        nargs=3,
        metavar=("D", "H", "W"),
        default=SHAPE,
        help="voxels of a volume; other sizes than the real one say so in the table",
    )
    options = parser.parse_args()
    shape = TOY_SHAPE if options.quick else tuple(options.size)
    device = find_device(options.device)
    devices.set_threads(0)
    if device.type == "cpu":
        devices.keep_freed_memory()  # as a run does; of the whole process, hence the peer's too
    precision = devices.resolve_precision("auto", device.type)
    rows: list[Row] = []
    notes = [f"Input 1×1×{'×'.join(map(str, shape))}; ours in {precision}."]
    if options.loss:
        for name in options.models:
            with said_on_stderr(f"{name}, losses"):
                rows.append(loss(name, device, 2 if options.quick else options.seeds, shape))
    else:
        accelerator = accelerator_for(device)
        ceilings = roofline.measure(device, precision)
        notes.append(
            f"Ceilings: {ceilings.flops_per_s / 1e12:.3g} TFLOP/s of dense {precision} arithmetic, "
            f"{ceilings.bytes_per_s / 1e9:.3g} GB/s in a copy. Beside a share of the roofline "
            "stands the bound itself, in the peer's column. A share above 100% would say that the "
            "machine was busy while the ceilings were measured."
        )
        notes += [off] if (off := peer_off_cudnn(device)) else []
        for name in options.models:
            with said_on_stderr(f"{name}, steps"):
                rounds = 2 if options.quick else options.rounds
                given = (name, accelerator, rounds, shape, ceilings)
                rows += speed(*given)
                let_go(accelerator)
                if options.batches and device.type == "cuda":
                    rows += speed_at_best(*given, options.batches)
            let_go(accelerator)
    title = "step, losses" if options.loss else "step"
    title += f", on {'a GPU' if device.type == 'cuda' else 'a CPU'}"
    return publish(title, rows, quick=options.quick, packages=PACKAGES, device=device, notes=notes)


if __name__ == "__main__":
    sys.exit(main())
