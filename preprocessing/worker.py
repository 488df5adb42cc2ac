"""One scan through the whole chain, in a process of its own."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import multiprocessing.process
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
import torch
from numpy.typing import NDArray

from preprocessing import qc
from preprocessing.cohorts import Scan
from preprocessing.nifti import ScanError, parse, read_bytes
from preprocessing.skullstrip import find_brain, recipe
from preprocessing.transforms import to_grid
from stfmri.study.config import PreprocessingConfig
from stfmri.study.shards import voxel_sha256

# Part of every key: raise it when the chain's result changes, and volumes are built again.
PREPROCESSING_VERSION = 1
STEPS = ("read", "brain", "transform", "picture")


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
        preprocessing: with `skullstrip` resolved.
        known: keys of volumes that need not be built.
        cache: where the quality records go.
        masks: where extracted brain masks are kept.
    """

    preprocessing: PreprocessingConfig
    known: frozenset[str]
    cache: Path
    masks: Path

    def __call__(self, scan: Scan) -> Outcome:
        """Build one volume and its quality record; a scan that cannot be used says why."""
        seconds = dict.fromkeys(STEPS, 0.0)
        try:
            with _timed(seconds, "read"):
                content = read_bytes(scan.path)
                digest = hashlib.sha256(content).hexdigest()
                key = volume_key(digest, scan, self.preprocessing)
                if key in self.known:
                    return Outcome(scan, key, seconds=seconds)
                image = parse(content)
            with _timed(seconds, "brain"):
                method = self.preprocessing.skullstrip
                brain = find_brain(image, digest, scan.mask, scan.stripped, method, self.masks)
            with _timed(seconds, "transform"):
                volume, affine = to_grid(image, brain, self.preprocessing)
            with _timed(seconds, "picture"):
                numbers = qc.measure(image, brain, volume)
                numbers["sha256"] = voxel_sha256(volume)
                qc.keep(self.cache, key, image, brain, numbers)
        except ScanError as error:
            return Outcome(scan, reason=str(error), seconds=seconds)
        return Outcome(scan, key, volume=volume, affine=affine, seconds=seconds)


def start() -> None:
    """Prepare a process of its own: one thread, an end with its parent, and Ctrl-C left to that."""
    one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    # A pool's worker whose parent was killed would wait for its next scan for ever.
    parent.join()
    os._exit(1)


def one_thread() -> None:
    """As many workers as cores: more threads in each would only make them wait."""
    torch.set_num_threads(1)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def volume_key(scan_sha256: str, scan: Scan, preprocessing: PreprocessingConfig) -> str:
    """Hash of all that the stored voxels depend on: the scan, its mask and the chain.

    Args:
        scan_sha256: of the source file's bytes.
        preprocessing: with `skullstrip` resolved.

    Raises:
        ScanError: where the scan's mask cannot be read.
    """
    parts = chain(preprocessing)
    if scan.mask is not None:
        try:
            parts["brain"] = hashlib.sha256(read_bytes(scan.mask)).hexdigest()
        except ScanError as error:
            raise ScanError(f"mask {scan.mask.name}: {error}") from error
    elif scan.stripped:
        parts["brain"] = "stripped"
    parts["scan"] = scan_sha256
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def chain(preprocessing: PreprocessingConfig) -> dict[str, Any]:
    """Every parameter of the chain that a volume can depend on, as JSON keeps it."""
    return {
        "version": PREPROCESSING_VERSION,
        "spacing_mm": preprocessing.spacing_mm,
        "field_mm": list(preprocessing.field_mm),
        "percentiles": list(preprocessing.percentiles),
        "brain": recipe(preprocessing.skullstrip),
    }


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[step] += time.perf_counter() - start
