"""Whether the GPU that a run was promised is there, and what Accelerate needs to hear before it is.

Torch and Accelerate train on the CPU without a word where they see no GPU, a hundred times slower.
"""

from __future__ import annotations

import os
import platform
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from subprocess import CalledProcessError

import torch
from accelerate.utils import parse_flag_from_env
from accelerate.utils.environment import get_driver_version

from stfmri.study.config.sweep import GPU_ASKED
from stfmri.study.errors import TrainingError

HIDDEN = ("", "-1")  # CUDA_VISIBLE_DEVICES of somebody who wants the CPU
NO_DEVICES = "NoDevFiles"  # SLURM's own word for none, up to version 21
DRIVER_FILE = Path("/proc/driver/nvidia/version")


class NoGpuError(TrainingError):
    """A GPU was asked for, and torch sees none."""


def before_accelerate() -> None:
    """Make ready for Accelerate's state; to be called before it is made.

    On a node with several RTX 4000 cards and a driver before 550.40 Accelerate refuses to start
    unless NCCL's two direct routes are closed, even for one process, which never uses NCCL.

    Raises:
        NoGpuError: where a GPU was asked for and none is seen.
    """
    if asked := asked_for():
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            is_seen = torch.cuda.is_available()
        if not is_seen:
            reasons = [str(one.message).split(". ")[0] for one in told[:1]]
            raise NoGpuError(_complaint(asked, reasons))
    if _processes() <= 1:
        for route in ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"):
            os.environ.setdefault(route, "1")


def asked_for() -> str:
    """What asked for a GPU, in words; "" where nothing did, or where the user chose the CPU."""
    if parse_flag_from_env("ACCELERATE_USE_CPU"):
        return ""
    if job := os.environ.get(GPU_ASKED):
        return job
    # Only this launcher of Accelerate's sets the one and leaves out the other.
    launched = os.environ.keys() & {"ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_CPU"}
    if _processes() > 1 and launched == {"ACCELERATE_MIXED_PRECISION"}:
        return "accelerate launch --multi_gpu"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in HIDDEN:
        return ""
    # Numbers of devices, of which 0 is one; the last counts them.
    for name in ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE"):
        value = os.environ.get(name, "")
        if value and (name, value) != ("SLURM_GPUS_ON_NODE", "0"):
            return f"{name}={value}"
    return "" if visible in (None, NO_DEVICES) else f"CUDA_VISIBLE_DEVICES={visible}"


def _complaint(asked: str, reasons: Sequence[str]) -> str:
    """One line: what was asked for, what is there, and what to do.

    Args:
        reasons: torch's own, where it gave any.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    found = [
        "torch.cuda.is_available() is False",
        f"torch {torch.__version__} is {built}",
        f"NVIDIA driver: {_driver()}",
        "CUDA_VISIBLE_DEVICES is not set" if visible is None else f"CUDA_VISIBLE_DEVICES={visible}",
        *(f"torch says: {reason}" for reason in reasons),
    ]
    cpu = "cluster.train.gres=null" if os.environ.get(GPU_ASKED) else "CUDA_VISIBLE_DEVICES=''"
    return (
        f"a GPU was asked for ({asked}) and none is seen on {platform.node()}: {'; '.join(found)}. "
        f"python launch/doctor.py there tells more; to train on the CPU, set {cpu}"
    )


def _driver() -> str:
    """The version of NVIDIA's driver, or "none"."""
    try:
        return get_driver_version()
    except (OSError, CalledProcessError):
        pass  # a container without the driver's tools may still show its version
    try:
        found = re.search(r"Module\D*(\d+\.[\d.]+)", DRIVER_FILE.read_text(encoding="utf-8"))
    except OSError:
        return "none"
    version = found[1] if found else "of unknown version"
    return f"{version}, without a working nvidia-smi"


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE") or 1)
