"""What the networks are called in tables and figures; `model.name` accepts these and no others."""

from __future__ import annotations

from collections.abc import Mapping

MODEL_LABELS: Mapping[str, str] = {
    "r3d_18": "ResNet3D",
    "mc3_18": "Mixed Convolution",
    "r2plus1d_18": "ResNet(2+1)D",
}
