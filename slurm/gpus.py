"""This machine's GPUs as nvidia-smi has them, and how SLURM is asked for some."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

CLIENT_TIMEOUT_S = 60
NO_DEVICE = ("", "-1", "NoDevFiles")  # in CUDA_VISIBLE_DEVICES; the last is SLURM's, up to 21
# The name comes last, since it may hold anything.
FIELDS = ("index", "uuid", "compute_mode", "name")
MPS_PIPES = "/tmp/nvidia-mps"  # where MPS listens unless CUDA_MPS_PIPE_DIRECTORY says otherwise
# Kinds of --gres that put a GPU into a job; of the last two it is a share of one.
WHOLE_GPU, SHARED_GPU = "gpu", ("shard", "mps")


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine.

    Attributes:
        index: as nvidia-smi counts.
        uuid: such as `GPU-4f1b…`.
        compute_mode: `Default`, `Exclusive_Process`, `Prohibited`; something else where the driver
            does not say.
    """

    index: str
    uuid: str
    compute_mode: str
    name: str

    @property
    def takes_several(self) -> bool:
        """Whether several processes may compute on it without MPS; unknown counts as yes."""
        return not self.compute_mode.startswith(("Exclusive", "Prohibited"))

    def is_called(self, name: str) -> bool:
        """Whether an entry of CUDA_VISIBLE_DEVICES means this GPU; a UUID may be cut short."""
        return name == self.index or (name.startswith("GPU-") and self.uuid.startswith(name))


def gpus() -> list[Gpu]:
    """Every GPU of this machine; empty without any, or where the driver does not answer."""
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        answer = subprocess.run(
            ["nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CLIENT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):  # a broken driver; nothing could run on such a GPU
        return []
    if answer.returncode != 0:
        return []
    lines = [re.split(r",\s*", line.strip(), maxsplit=3) for line in answer.stdout.splitlines()]
    # Complaints may come between the lines.
    return [Gpu(*line) for line in lines if len(line) == len(FIELDS) and line[0].isdecimal()]


def local_gpus() -> list[str]:
    """GPUs this process may use, as CUDA_VISIBLE_DEVICES names them; empty without any."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        named = [device.strip() for device in visible.split(",")]
        return [device for device in named if device not in NO_DEVICE]
    return [gpu.index for gpu in gpus()]


def for_one_process(devices: Sequence[str]) -> list[Gpu]:
    """Those of `devices`, named as by `local_gpus`, that take one process at a time or none.

    MPS is one process to the driver, whoever computes through it: with it running, an exclusive GPU
    takes several.
    """
    alone = [
        gpu
        for gpu in gpus()
        if not gpu.takes_several and any(gpu.is_called(device) for device in devices)
    ]
    if alone and mps_runs():
        return [gpu for gpu in alone if gpu.compute_mode == "Prohibited"]
    return alone


def mps_runs() -> bool:
    """Whether NVIDIA's Multi-Process Service runs here, or reaches into this container."""
    pipes = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or MPS_PIPES)
    names = (process.info["name"] or "" for process in psutil.process_iter(["name"]))
    return (pipes / "control").exists() or any(name.startswith("nvidia-cuda-mps") for name in names)


def gpus_in(gres: str | None) -> int:
    """How many GPUs `--gres` asks for: `gpu`, `gpu:2`, `gpu:a100:2`, or several such with commas.

    A share of a GPU (`shard:4`, `mps:50`) counts as one.
    """
    count = 0
    for item in (gres or "").split(","):
        kind, *rest = re.sub(r"\(.*", "", item).strip().removeprefix("gres/").split(":")
        if kind == WHOLE_GPU:
            count += int(rest[-1]) if rest and rest[-1].isdecimal() else 1
        elif kind in SHARED_GPU:
            count += 1
    return count
