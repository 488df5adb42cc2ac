"""One scan through the whole chain, in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from preprocessing import qc
from preprocessing.chain import Chain, process, read
from preprocessing.chain.timing import timed
from preprocessing.cohorts import Scan
from preprocessing.nifti import ScanError
from stfmri.study.shards import voxel_sha256

STEPS = ("read", "brain", "register", "transform", "picture")


@dataclass(frozen=True)
class Outcome:
    """What became of one scan: rejected for a `reason`, built, or (no `volume`) there already."""

    scan: Scan
    key: str = ""
    reason: str = ""
    volume: NDArray[np.float16] | None = None  # (C, D, H, W)
    affine: NDArray[np.float64] | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # by step


@dataclass(frozen=True)
class Worker:
    """Takes scans through the chain; picklable, so that any process can.

    Attributes:
        known: keys of volumes that need not be built.
        cache: where the quality records go.
        masks: where extracted brain masks are kept.
    """

    chain: Chain
    known: frozenset[str]
    cache: Path
    masks: Path

    def __call__(self, scan: Scan) -> Outcome:
        """Build one volume and its quality record; a scan that cannot be used says why."""
        seconds = dict.fromkeys(STEPS, 0.0)
        try:
            with timed(seconds, "read"):
                sources = read(scan, self.chain)
                if sources.key in self.known:
                    return Outcome(scan, sources.key, seconds=seconds)
            made = process(sources, self.chain, self.masks)
            for step, spent in made.seconds.items():
                seconds[step] += spent
            with timed(seconds, "picture"):
                numbers = qc.measure(made, self.chain.preprocessing.percentiles)
                numbers["sha256"] = voxel_sha256(made.volume_CDHW)
                numbers["brain"] = scan.brain_from
                numbers["scan_sha256"] = sources.scan_sha256
                qc.keep(self.cache, sources.key, made, numbers)
        except ScanError as error:
            return Outcome(scan, reason=str(error), seconds=seconds)
        return Outcome(
            scan, sources.key, volume=made.volume_CDHW, affine=made.affine, seconds=seconds
        )


def one_thread() -> None:
    """As many workers as cores: more threads in each would only make them wait.

    What uses torch sees to that itself: it takes seconds to import, and most scans need none.
    """
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
