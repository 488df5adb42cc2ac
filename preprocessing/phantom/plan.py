"""Who is in the phantom cohort: names, centres and seeds, before any voxel is drawn."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from preprocessing.phantom.config import Frequencies, PhantomConfig
from preprocessing.phantom.contrasts import FIRST, Contrast

CLASSES = ("LGG", "HGG", "Healthy")
BRATS_FOLDER = "MICCAI_BraTS_2019_Data_Training"


@dataclass(frozen=True)
class Subject:
    """One phantom: its class, its centre (or hospital) and its name, as in BraTS or IXI."""

    label: str
    number: int
    centre: str
    name: str

    @property
    def path(self) -> PurePosixPath:
        """The file of its first contrast, relative to the cohort."""
        return self.file(FIRST[self.label])

    def file(self, contrast: Contrast) -> PurePosixPath:
        """Return the file of one contrast, relative to the cohort."""
        if self.label == "Healthy":
            file = f"{self.name}-{contrast.ixi}.nii.gz"
            return PurePosixPath(f"IXI-{contrast.ixi}", file)
        return PurePosixPath(
            BRATS_FOLDER, self.label, self.name, f"{self.name}_{contrast.name}.nii.gz"
        )

    def rng(self, seed: int, purpose: str) -> np.random.Generator:
        """Return this subject's own random stream for one purpose.

        It depends on nothing but the seed and the subject, so neither the order of work nor the
        number of processes changes a voxel.
        """
        purpose_key = zlib.crc32(purpose.encode())
        return np.random.default_rng([seed, CLASSES.index(self.label), self.number, purpose_key])


def plan(
    lgg: int, hgg: int, healthy: int, config: PhantomConfig, confounding: float, seed: int
) -> list[Subject]:
    """List the subjects of a cohort; patients are unique.

    Args:
        lgg: Number of low-grade cases.
        hgg: Number of high-grade cases.
        healthy: Number of healthy heads.
        config: Ranges and centres.
        confounding: 0 (both grades from the same centres) to 1 (as in BraTS 2019).
        seed: The cohort's seed.
    """
    rng = np.random.default_rng([seed, zlib.crc32(b"plan")])
    centres = config.centres
    subjects = []
    patients = iter(rng.permutation(np.arange(100, 1000 + 2 * (lgg + hgg))))
    for label, count, own in (("LGG", lgg, centres.lgg), ("HGG", hgg, centres.hgg)):
        frequencies = _mix(centres.shared, own, confounding)
        for number, centre in enumerate(_allot(frequencies, count, rng)):
            case = f"BraTS19_{centre}_{next(patients)}_1"
            subjects.append(Subject(label, number, centre, case))
    scans = rng.integers(300, 3000, size=healthy)
    for number, site in enumerate(_allot(centres.healthy, healthy, rng)):
        name = f"IXI{number + 1:03d}-{site}-{scans[number]:04d}"
        subjects.append(Subject("Healthy", number, site, name))
    return subjects


def _mix(shared: Frequencies, own: Frequencies, confounding: float) -> Frequencies:
    """Blend two frequency tables, each normalised, in the proportion of the confounding."""
    total_shared, total_own = sum(shared.values()), sum(own.values())
    return {
        name: (1 - confounding) * shared.get(name, 0) / total_shared
        + confounding * own.get(name, 0) / total_own
        for name in sorted({*shared, *own})
    }


def _allot(frequencies: Frequencies, count: int, rng: np.random.Generator) -> list[str]:
    """Give `count` subjects a centre each, in random order.

    A systematic draw (one random start, equal steps along the cumulated frequencies) keeps each
    centre within one case of its share, so a small cohort is not confounded by chance.
    """
    names = list(frequencies)
    edges = np.cumsum([frequencies[name] for name in names])
    points = (np.arange(count) + rng.random()) / max(count, 1) * edges[-1]
    places = np.minimum(np.searchsorted(edges, points, side="right"), len(names) - 1)
    return [names[place] for place in rng.permutation(places)]
