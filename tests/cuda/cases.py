"""What is trained on the null device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

EPOCHS = 3
# The network is a tenth of the others, as files of their weights take longest here.
RUNS: dict[str, dict[str, Any]] = {
    "resident": {"train.precision": "fp16"},
    "streamed": {"train.precision": "fp16", "train.resident_share": 0.0, "train.workers": 1},
    "accumulated": {"train.precision": "bf16", "train.batch_size": 3, "train.accumulate": 2},
    "fp32": {"train.precision": "fp32", "model.slice_axis": "coronal"},
}


@dataclass(frozen=True)
class Steps:
    """Steps of a network at one precision and batch size."""

    network: str
    precision: str
    batch_size: int

    @property
    def name(self) -> str:
        """For a test's name and a key of JSON."""
        return f"{self.network} {self.precision} {self.batch_size}"


STEPS = (
    Steps("r3d_18", "fp16", 1),
    Steps("r3d_18", "fp16", 4),
    Steps("r3d_18", "bf16", 1),
    Steps("r3d_18", "fp32", 1),
    Steps("mc3_18", "fp16", 1),
    Steps("mc3_18", "fp16", 4),
    Steps("r2plus1d_18", "fp16", 1),
    Steps("r2plus1d_18", "fp16", 4),
)
STEPS_IN_EPOCH = 6
