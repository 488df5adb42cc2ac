"""What people read instead of a variant's folder name."""

from __future__ import annotations

from stfmri.study import pretrained
from stfmri.study.naming import variant_name
from stfmri.study.networks import label_of
from stfmri.study.ready_weights import READY_WEIGHTS


def variant_label(variant: str, model: str, weights: str) -> str:
    """Such as `SFCN` or `ResNet3D, Kinetics-400, 0.001`, as tables and figures have it.

    Args:
        variant: its folder's name, which ends with the values of further axes.
        weights: as model.weights has it.
    """
    words = [label_of(model)]
    if weights in READY_WEIGHTS:
        words.append(READY_WEIGHTS[weights].label)
    if name := pretrained.name_of(weights):
        words.append(f"pre-trained on MRI ({name})")
    if extra := axes_of(variant, model, weights):
        words.append(extra)
    return ", ".join(words)


def axes_of(variant: str, model: str, weights: str) -> str:
    """The part of a variant's name that tells the values of further axes; "" without any."""
    return variant.removeprefix(variant_name(model, weights, ())).lstrip("-")
