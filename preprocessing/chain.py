"""The chain from one subject's files to one volume of the cache: the same for every caller.

`python -m preprocessing`, `launch/preprocess.py`, `launch/predict.py` and the benchmarks all call
`read` and `process`; nothing else turns a scan into a volume.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preprocessing.brain import Mask, find_brain, recipe
from preprocessing.cohorts import Scan, wanted_contrasts
from preprocessing.nifti import Image, ScanError, parse, read_bytes
from preprocessing.transforms import to_grid
from stfmri.study.config import Config, PreprocessingConfig
from stfmri.study.serialise import dump_yaml


@dataclass(frozen=True)
class Chain:
    """What the chain does, the same for every subject of a cache.

    Attributes:
        settings: every key that a stored voxel depends on, as `Config.chain` has them.
        contrasts: the channels of a volume, in order.
        fill: whether a contrast that a subject lacks becomes a channel of zeros.
    """

    preprocessing: PreprocessingConfig
    settings: dict[str, object]
    contrasts: tuple[str, ...]
    fill: bool = False

    @classmethod
    def of(cls, config: Config) -> Chain:
        """The chain that a configuration asks for."""
        return cls(
            preprocessing=config.preprocessing,
            settings=config.chain,
            contrasts=wanted_contrasts(config.data),
            fill=config.data.missing == "zeros",
        )

    def as_text(self) -> str:
        """What is stored with the volumes: the settings, and the recipe of the brain masks."""
        return dump_yaml({**self.settings, "extraction": recipe(self.preprocessing.skullstrip)})


@dataclass(frozen=True)
class Sources:
    """One subject's files as read, and the key of the volume that they become."""

    scan: Scan
    contents: dict[str, bytes]  # contrast → the file's bytes
    key: str


@dataclass(frozen=True)
class Processed:
    """One subject's volume, and what quality control needs to judge it.

    Attributes:
        reference: the first contrast that is there, as read; the others are brought to it.
        brain: the brain on the reference's grid.
        volume_CDHW: float16, in [0, 1], 0 outside the brain.
        affine: (w, h, d, 1) → RAS millimetres.
        missing: contrasts whose channel is all zeros.
        facts: numbers about the steps, such as the overlap after registration, by name.
    """

    reference: Image
    brain: Mask
    volume_CDHW: NDArray[np.float16]
    affine: NDArray[np.float64]
    contrasts: tuple[str, ...]
    missing: tuple[str, ...] = ()
    facts: dict[str, float] = field(default_factory=dict)


def read(scan: Scan, chain: Chain) -> Sources:
    """Read a subject's files, once, for both their hash and their voxels.

    Raises:
        ScanError: where a file cannot be read or a contrast is missing.
    """
    if scan.fault:
        raise ScanError(scan.fault)
    absent = [name for name in chain.contrasts if name not in scan.paths]
    if absent and not (chain.fill and scan.paths):
        raise ScanError(
            f"has no {' and no '.join(absent)}; leave the subject out, or keep it with "
            "data.missing=zeros"
        )
    contents = {}
    for name in chain.contrasts:
        if name in scan.paths:
            contents[name] = read_bytes(scan.paths[name])
    return Sources(scan, contents, _key(scan, contents, chain))


def process(sources: Sources, chain: Chain, masks: Path) -> Processed:
    """Make the volume.

    Args:
        masks: the folder where extracted brain masks are kept.

    Raises:
        ScanError: where a scan cannot be used.
    """
    scan = sources.scan
    [content] = sources.contents.values()
    image = parse(content)
    method = chain.preprocessing.skullstrip
    digest = hashlib.sha256(content).hexdigest()
    brain = find_brain(image, digest, scan.mask, scan.stripped, method, masks)
    volume, affine = to_grid(image, brain, chain.preprocessing)
    return Processed(image, brain, volume, affine, chain.contrasts)


def _key(scan: Scan, contents: dict[str, bytes], chain: Chain) -> str:
    """Hash of all that the stored voxels depend on: the files, the mask and the chain.

    Raises:
        ScanError: where the scan's mask cannot be read.
    """
    brain = "stripped" if scan.stripped else recipe(chain.preprocessing.skullstrip)
    if scan.mask is not None:
        try:
            brain = hashlib.sha256(read_bytes(scan.mask)).hexdigest()
        except ScanError as error:
            raise ScanError(f"mask {scan.mask.name}: {error}") from error
    parts = {
        "chain": chain.settings,
        "brain": brain,
        "scans": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
