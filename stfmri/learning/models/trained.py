"""A finished run's network, read back for new scans."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from stfmri.learning import checkpoint
from stfmri.learning.models.registry import build, require_library
from stfmri.learning.weights import WeightsError
from stfmri.study import selection
from stfmri.study.config import Config
from stfmri.study.errors import UserError, first_line
from stfmri.study.files import read_text, sha256_of
from stfmri.study.naming import CONFIG_FILE, MODEL_FILE
from stfmri.study.quality import TrainingScan
from stfmri.study.serialise import load_yaml


@dataclass(frozen=True)
class Trained:
    """A finished run's network in eval mode, and what a new scan needs to go through it.

    Attributes:
        classes: in the order of the network's outputs.
        contrasts: in the order of the network's input channels.
        config: the run's own.
        chain: what a training volume of the run went through, as its shard had it.
        trained_on: sha256 of the voxels of each training volume.
        training_scans: what quality control measured of the training volumes; empty for a run
            that does not say.
    """

    network: nn.Module
    classes: tuple[str, ...]
    contrasts: tuple[str, ...]
    config: Config
    chain: dict[str, Any]
    trained_on: frozenset[str]
    training_scans: tuple[TrainingScan, ...] = ()


def load_trained(run: Path) -> Trained:
    """Load what a finished run wrote.

    Raises:
        UserError: where the run has no model.pt, it does not fit the run's config.yaml, or the
            library that builds its network is not installed.
    """
    config = selection.config_of(run)
    file = run / MODEL_FILE
    if not file.exists():
        raise UserError(f"no model at {file}: the run has not finished; see launch/status.py")
    require_library(config.model.name)
    content = checkpoint.read_tensors(file)
    _require_own(file, run)
    try:
        classes, trained_on = tuple(content["classes"]), frozenset(content["trained_on"])
        # A model of an earlier version does not tell; the chain, below, does.
        contrasts = tuple(content.get("contrasts", config.data.channels))
        network = build(config.model, len(classes), seed=0, channels=len(contrasts))
        network.load_state_dict(content["state_dict"])
        chain = dict(load_yaml(content.get("chain", "{}"), f"{file} (chain)"))
        scans = tuple(map(TrainingScan.of_plain, content.get("training_scans", ())))
    except Exception as error:  # of many kinds; each means that this file is no model of the run
        raise WeightsError(
            f"{file} does not fit {run / CONFIG_FILE}: {first_line(error)}"
        ) from error
    if differing := [key for key, value in config.chain.items() if chain.get(key) != value]:
        key = differing[0]
        raise UserError(
            f"{file} was trained on volumes made with {key}={chain.get(key)}; this program would "
            f"make them with {config.chain[key]}: use the code that the sweep was submitted with, "
            "in its folder code-…, or train again"
        )
    return Trained(network.eval(), classes, contrasts, config, chain, trained_on, scans)


def training_scans_of(run: Path) -> tuple[TrainingScan, ...]:
    """What a finished run keeps of its training volumes, without its network.

    Raises:
        UserError: where it has no model.pt, or a damaged one.
    """
    content = checkpoint.read_tensors(run / MODEL_FILE)
    try:
        return tuple(map(TrainingScan.of_plain, content.get("training_scans", ())))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{run / MODEL_FILE} is no model of a run: {error!r}") from error


def _require_own(file: Path, run: Path) -> None:
    """Refuse a model that is not the one whose hash the run wrote down; earlier versions did not.

    Raises:
        UserError: naming the file.
    """
    try:
        said = json.loads(read_text(run / "provenance.json")).get("model_sha256")
    except (OSError, ValueError, AttributeError):
        said = None  # without it, the model's own checksums are all there is
    if said is not None and sha256_of(file) != said:
        raise UserError(
            f"{file} is not the model that this run wrote (sha256 in provenance.json: "
            f"{str(said)[:12]}): restore it, or delete predictions.csv and submit the sweep again"
        )
