"""Where a run's numbers come from: versions, code, machine, precision, time and memory."""

from __future__ import annotations

import contextlib
import os
import platform
from importlib import metadata
from typing import Any

import torch

from stfmri.learning import device as devices
from stfmri.learning import models
from stfmri.study.config.training import ModelConfig
from stfmri.study.git import code_state

PACKAGES = ("torch", "torchvision", "accelerate", "h5py", "numpy", "scikit-learn", "torchio")


def describe(device: torch.device) -> dict[str, Any]:
    """Versions, code and machine of this process."""
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "code": code_state(),
        "host": platform.node(),
        "platform": platform.platform(),
        "device": device_name(device),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def arithmetic(
    model: ModelConfig,
    classes: int,
    shape: tuple[int, ...],
    device: torch.device,
    precision: str,
    samples_per_s: float | None,
) -> dict[str, Any]:
    """How large a network is, what a training step of one volume costs, and how near the peak.

    Args:
        shape: of the network's input, (B, C, T, H, W).
        samples_per_s: trained on this device; None where it has other work beside this, so that
            its peak cannot be measured.
    """
    with torch.device("meta"):
        # In eval mode, in which batch norm takes any shape; the operations are the same.
        network = models.build(model, classes, 0, channels=shape[1]).eval()
    # Backward computes the gradients of inputs and of weights: twice the forward's work.
    flops = 3 * devices.forward_flops(network, shape)
    peak = share = None
    if samples_per_s is not None:
        # No run shall fail for a figure. CUDA's libraries have many words for a full memory.
        with contextlib.suppress(RuntimeError):
            peak = devices.matrix_peak(device, precision)
            share = flops * samples_per_s / peak
    return {
        "parameters": models.parameter_count(network),
        "train_flops_per_sample": flops,
        "matrix_peak_flops_per_s": peak,
        "matrix_peak_share": share,
    }


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or "CPU")


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
