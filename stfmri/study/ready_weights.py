"""Ready-made weights that a network may start from, one record a source.

Which network has which is in its file of conf/model; how a file is read is in
`stfmri.learning.models`.
"""

from __future__ import annotations

from dataclasses import dataclass

SCRATCH = "scratch"


@dataclass(frozen=True)
class ReadyWeights:
    """Weights that somebody trained.

    Attributes:
        name: of `model.weights` and `sweep.weights`.
        label: in tables and figures, after the network's.
        phrase: in the methods text.
        file: what the file is, with the network's name in it.
        keeps_first_layer: whether it fits scans as it is; if not, `model.stem_init` decides.
        address: where files are fetched from; empty: the user's own file is needed.
        place: where a user finds one.
    """

    name: str
    label: str
    phrase: str
    file: str
    keeps_first_layer: bool
    address: str = ""
    place: str = ""


KINETICS = ReadyWeights(
    name="kinetics",
    label="pre-trained",
    phrase="weights pre-trained on the videos of Kinetics-400",
    file="a Kinetics-400 state dict of torchvision's {network}",
    keeps_first_layer=False,
    address="https://download.pytorch.org/models/",  # torchvision's own
)
MEDICALNET = ReadyWeights(
    name="medicalnet",
    label="MedicalNet",
    phrase="weights pre-trained on segmentations of CT and MRI (MedicalNet; Chen et al. 2019, "
    "arXiv:1904.00625)",
    file="MedicalNet's file of {network}",
    keeps_first_layer=True,
    place="https://github.com/Tencent/MedicalNet",
)
READY_WEIGHTS = {weights.name: weights for weights in (KINETICS, MEDICALNET)}


def initial_weights() -> tuple[str, ...]:
    """The values of `model.weights`."""
    return (SCRATCH, *READY_WEIGHTS)
