"""What the benchmarks share: taking turns, paired ratios, the machine's name, one small table.

A busy machine slows everything that runs on it. Two things that take turns within one process are
slowed alike, so the ratio of neighbouring turns holds where neither time does.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

SLOW_PEER = (90800, 91500)  # cuDNN 9.8 to 9.14
Action = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        met: whether the mark is met; None where there is none, or nothing was measured.
    """

    what: str
    ours: str
    peer: str = ""
    ratio: str = ""
    mark: str = ""
    met: bool | None = None


def new_parser(description: str, epilog: str = "") -> argparse.ArgumentParser:
    """A command line with the options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description.partition("\n\n")[0],
        epilog=f"{epilog}\n\nexit status: 0 every mark met or none judged; 1 some mark missed",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="toy sizes, to see that it runs: its figures mean nothing and no mark is judged",
    )
    return parser


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where the networks compute; auto: the GPU where there is one",
    )


def find_device(choice: str) -> Any:
    """The torch device that `--device` means."""
    import torch

    return torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu") if choice == "auto" else choice
    )


def alternate(
    actions: Mapping[str, Action], rounds: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Run the actions in turn and time each.

    The order is reversed every other round, so that none always follows the same one.

    Returns:
        Seconds of each action, a number a round; warm-up rounds are left out.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    names = list(actions)
    for number in range(-warmup, rounds):
        for name in names if number % 2 == 0 else reversed(names):
            gc.collect()  # otherwise one action may pay for the other's garbage
            started = time.perf_counter()
            actions[name]()
            if number >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def paired_ratio(slower: Sequence[float], faster: Sequence[float]) -> float:
    """Median over the rounds of `slower / faster`."""
    return median(first / second for first, second in zip(slower, faster, strict=True))


def present(package: str) -> bool:
    """Whether a peer is installed; its rows say "not measured" where it is not."""
    return find_spec(package) is not None


@contextmanager
def said_on_stderr(what: str) -> Iterator[None]:
    """Say on standard error what takes its time; the table alone goes to standard output."""
    started = time.perf_counter()
    print(f"… {what}", file=sys.stderr, flush=True)
    yield
    print(f"  {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)


def machine(packages: Sequence[str] = (), device: Any = None) -> str:
    """This machine in a line: processor, cores, GPU, versions."""
    parts = [f"{_processor()}, {len(os.sched_getaffinity(0))} cores"]
    if device is not None:
        import torch

        if device.type == "cuda":
            parts.append(torch.cuda.get_device_name(device))
            parts.append(f"cuDNN {torch.backends.cudnn.version()}")
        else:
            parts.append(f"{torch.get_num_threads()} threads")
    parts.append(f"Python {platform.python_version()}")
    for package in packages:
        if present(package):
            parts.append(f"{package} {metadata.version(package)}")
    return ", ".join(parts)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def publish(
    title: str,
    rows: Sequence[Row],
    *,
    quick: bool,
    packages: Sequence[str] = (),
    device: Any = None,
    notes: Sequence[str] = (),
) -> int:
    """Print the table with its command, date and machine, as benchmarks/RESULTS.md keeps it.

    Returns:
        Exit status: 1 where a mark was missed.
    """
    call = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    print(f"## {title}\n")
    print(f"`{call}`, {date}: {machine(packages, device)}.\n")
    if quick:
        print("Toy sizes (--quick): no figure below means anything.\n")
    print(markdown(rows, quick))
    for note in notes:
        print(f"\n{note}")
    return 1 if not quick and any(row.met is False for row in rows) else 0


def markdown(rows: Sequence[Row], quick: bool = False) -> str:
    """The rows as a Markdown table whose columns line up."""
    cells = [["", "ours", "peer", "ratio", "mark", "verdict"]]
    cells += [
        [row.what, row.ours, row.peer, row.ratio, row.mark, _verdict(row, quick)] for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(6)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    )


def _verdict(row: Row, quick: bool) -> str:
    if not row.mark or row.met is None or quick:
        return "not judged" if row.mark else ""
    return "met" if row.met else "**not met**"


def seconds_text(seconds: float) -> str:
    """A duration in the unit that suits it."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s"


def peer_off_cudnn(device: Any) -> str:
    """Why the usual script is no peer to be judged against on this device; empty where it is."""
    if device.type != "cuda":
        return ""
    import torch

    version = torch.backends.cudnn.version() or 0
    if not SLOW_PEER[0] <= version < SLOW_PEER[1]:
        return ""
    return (
        f"The marks against the peer are not judged: with cuDNN {version} PyTorch computes the "
        "peer's fp16 conv3d without cuDNN, many times slower than with other versions."
    )


def synchronise(device: Any) -> None:
    """Wait for the device, so that a clock read next tells the truth."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)
