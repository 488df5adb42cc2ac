"""A new scan, looked at and preprocessed once for all networks, or refused with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing import qc
from preprocessing.chain import Chain, process, read
from preprocessing.cohorts import Scan
from preprocessing.nifti import ScanError
from preprocessing.qc.picture import picture
from preprocessing.recognise import require_brain, require_scan, require_told_apart
from stfmri.study.config import Config
from stfmri.study.shards import voxel_sha256

PANEL = 320  # pixels of each plane's edge


@dataclass(frozen=True)
class Examined:
    """One subject: its volume and what was measured of it, or why there is none.

    Attributes:
        reason: why it was refused; empty for a subject that can be answered.
        volume_CDHW: as the cache would store it.
        sha256: of those voxels.
        scan_sha256: of the first contrast's stored numbers.
        numbers: of quality control.
        picture: PNG, three planes with the brain's outline; empty unless asked for.
    """

    scan: Scan
    reason: str = ""
    volume_CDHW: NDArray[np.float16] = field(default_factory=lambda: np.zeros(0, np.float16))
    sha256: str = ""
    scan_sha256: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    picture: bytes = b""


@dataclass(frozen=True)
class Examiner:
    """Looks at scans one by one.

    Attributes:
        chain: of the networks' training volumes.
        masks: folder where extracted brain masks are kept.
        usual_ml: least and largest brain of the training scans; None where they are not known.
        pictures: whether pictures are wanted.
    """

    chain: Chain
    masks: Path
    usual_ml: tuple[float, float] | None = None
    pictures: bool = False

    def __call__(self, scan: Scan) -> Examined:
        """Read, recognise, preprocess and measure one subject."""
        try:
            return self._examined(scan)
        except (ScanError, OSError) as error:
            return Examined(scan, " ".join(str(error).split()))

    def _examined(self, scan: Scan) -> Examined:
        sources = read(scan, self.chain)
        for name, image in sources.images.items():
            try:
                require_scan(image)
            except ScanError as error:
                several = len(sources.images) > 1
                raise ScanError(f"{name}: {error}") if several else error from error
        require_told_apart(next(iter(sources.images.values())), scan)
        made = process(sources, self.chain, self.masks)
        numbers = qc.measure(made, self.chain.preprocessing.percentiles)
        require_brain(numbers["brain_ml"], self.usual_ml)
        return Examined(
            scan,
            volume_CDHW=made.volume_CDHW,
            sha256=voxel_sha256(made.volume_CDHW),
            scan_sha256=sources.scan_sha256,
            numbers=numbers,
            picture=picture(made, PANEL) if self.pictures else b"",
        )


@contextmanager
def masks_of(config: Config) -> Iterator[Path]:
    """The folder of brain masks that were extracted before; one for now where it has no place."""
    caches = config.cache.parent
    if caches.is_dir():
        yield caches / "masks"
    else:
        with TemporaryDirectory() as folder:
            yield Path(folder)
