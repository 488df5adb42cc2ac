"""An nvidia-smi that answers as a test wants, first on the path; no GPU is needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest


def fake_nvidia_smi(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    modes: Sequence[str] = (),
    *,
    name: str = "NVIDIA A100-SXM4-40GB",
    driver: str = "535.104.05",
    answer: str | None = None,
    status: int = 0,
) -> None:
    """Put it on the path.

    Args:
        modes: the compute mode of each GPU.
        answer: what it prints whatever it is asked, instead.
    """
    columns = [
        {
            "count": str(len(modes)),
            "index": str(number),
            "uuid": f"GPU-{number:04d}-aaaa",
            "compute_mode": mode,
            "name": name,
            "driver_version": driver,
        }
        for number, mode in enumerate(modes)
    ]
    script = f"#!/usr/bin/env python3\nimport sys\nanswer, columns = {answer!r}, {columns!r}\n"
    script += (
        "[asked] = [word[12:] for word in sys.argv if word.startswith('--query-gpu=')]\n"
        "lines = [', '.join(gpu[field] for field in asked.split(',')) for gpu in columns]\n"
        "print('\\n'.join(lines) if answer is None else answer)\n"
        f"sys.exit({status})\n"
    )
    file = folder / "bin" / "nvidia-smi"
    file.parent.mkdir(exist_ok=True)
    file.write_text(script, encoding="utf-8")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.environ['PATH']}")
