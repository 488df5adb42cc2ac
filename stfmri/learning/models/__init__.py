"""The networks: float (B, C, T, H, W) to logits (B, classes), with or without ready-made weights.

A new one is a file here with a `Network` and an entry in the registry, and a file in conf/model
with what is known of it without torch; the rest iterates over these.

Tensor names carry their axes: B batch, C channel, T slices (the pseudo-time axis), H, W in plane.
"""

from stfmri.learning.models.ready import load_weights, read_weights
from stfmri.learning.models.record import Network
from stfmri.learning.models.registry import (
    NETWORKS,
    SLICE_PERMUTATION,
    build,
    channels_of,
    head_of,
    network_named,
    parameter_count,
    to_slices_first,
)
from stfmri.learning.models.trained import Trained, load_trained, training_scans_of

__all__ = [
    "NETWORKS",
    "SLICE_PERMUTATION",
    "Network",
    "Trained",
    "build",
    "channels_of",
    "head_of",
    "load_trained",
    "load_weights",
    "network_named",
    "parameter_count",
    "read_weights",
    "to_slices_first",
    "training_scans_of",
]
