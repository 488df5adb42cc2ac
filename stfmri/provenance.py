"""Where a run's numbers come from: versions, code, machine, precision, time and memory."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "torchvision", "accelerate", "h5py", "numpy", "scikit-learn", "torchio")
CODE = Path(__file__).resolve().parent.parent


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


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or "CPU")


def code_state() -> dict[str, Any]:
    """The commit this code is of, from `git.json` in a frozen copy, else from git itself."""
    frozen = CODE / "git.json"
    if frozen.is_file():
        return json.loads(frozen.read_text(encoding="utf-8"))
    return git_state(CODE)


def git_state(folder: Path) -> dict[str, Any]:
    """`{"commit": …, "changed": bool}`; both null where `folder` is no git checkout."""

    def git(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    changes = git("status", "--porcelain")
    return {
        "commit": git("rev-parse", "HEAD"),
        "changed": None if changes is None else changes != "",
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
