"""The answers: every network is loaded once, and asked about all scans."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from launch.prediction.examine import Examined
from stfmri.learning.models import Trained, load_trained, to_slices_first
from stfmri.study.errors import UserError
from stfmri.study.quality import TrainingScan


@dataclass(frozen=True)
class Asked:
    """What all networks said of all scans.

    Attributes:
        probability_FNK: of F networks, N scans and K classes.
        trained_on: of each network, the hashes of its training volumes.
        training_scans: of each network, what it keeps of them.
    """

    probability_FNK: NDArray[np.float64]
    trained_on: tuple[frozenset[str], ...]
    training_scans: tuple[tuple[TrainingScan, ...], ...]

    def seen_by(self, scan: Examined) -> int:
        """Number of networks that were trained on its voxels."""
        return sum(scan.sha256 in known for known in self.trained_on)

    def scan_seen_by(self, scan: Examined) -> int:
        """Number of networks that were trained on it, with whatever mask and preprocessing."""
        return sum(scan.scan_sha256 in known for known in self._scan_hashes)

    @cached_property
    def _scan_hashes(self) -> list[frozenset[str]]:
        every = ({one.quality.scan_sha256 for one in scans} for scans in self.training_scans)
        return [frozenset(known - {""}) for known in every]


def ask(
    runs: Sequence[Path],
    first: Trained,
    scans: Sequence[Examined],
    progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Asked:
    """Ask the network of every run; one is in memory at a time, beside the first.

    Args:
        first: the first run's, loaded already.
        scans: those that can be answered.
        progress: wraps the runs, to show how far it is.

    Raises:
        UserError: where a network knows other classes than the first, or was trained on other
            volumes.
    """
    said, hashes, kept = [], [], []
    for number, run in enumerate(progress(runs)):
        trained = load_trained(run) if number else first
        require_alike(first, trained, runs[0], run)
        order = [trained.classes.index(name) for name in first.classes]
        said.append(_probabilities(trained, scans)[:, order])
        hashes.append(trained.trained_on)
        kept.append(trained.training_scans)
    return Asked(np.stack(said), tuple(hashes), tuple(kept))


def require_alike(first: Trained, other: Trained, first_run: Path, run: Path) -> None:
    """Refuse networks whose probabilities cannot be averaged over one volume."""
    if set(other.classes) != set(first.classes):
        raise UserError(
            f"{run} tells {', '.join(other.classes)} apart, {first_run} {', '.join(first.classes)}:"
            " their probabilities cannot be averaged; ask them one by one"
        )
    theirs = {**other.config.chain, "contrasts": other.contrasts}
    for key, value in {**first.config.chain, "contrasts": first.contrasts}.items():
        if theirs[key] != value:
            raise UserError(
                f"{run} was trained on volumes made with {key}={theirs[key]}, {first_run} with "
                f"{value}; ask them one by one"
            )


@torch.inference_mode()
def _probabilities(trained: Trained, scans: Sequence[Examined]) -> NDArray[np.float64]:
    """Class probabilities (N, K), in eval mode and single precision, a volume at a time."""
    found = np.zeros((len(scans), len(trained.classes)))
    for number, scan in enumerate(scans):
        volume_BCDHW = torch.from_numpy(scan.volume_CDHW).float()[None]
        volume_BCTHW = to_slices_first(volume_BCDHW, trained.config.model.slice_axis)
        logits_BK = trained.network(volume_BCTHW)
        found[number] = logits_BK.double().softmax(dim=1)[0].numpy()
    return found
