"""How like its training scans a new scan is, by the numbers of quality control.

Each number is put in robust standard deviations of the training scans. The distance of a scan is
the mean of the root mean square differences to its nearest training scans (after Sun et al., ICML
2022, with image statistics for a network's features): unlike a distance from one centre it holds
for cohorts of several kinds of scans. It is compared with the distances of the training scans from
one another, each left out in its turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing import qc
from preprocessing.qc.measures import PERCENT, Measure
from stfmri.study.quality import TrainingScan

FEWEST = 5  # training scans, to compare with
NEAREST = 5
MOST_Z = 8.0  # of a difference in one number, so that no number decides alone
ODD_Z = 3.0  # from the median, of a number that is named
NAMED = 3
# Least spread that counts, as a share of the median: cohorts of equal values have no outliers.
LEAST_SPREAD = 0.01


@dataclass(frozen=True)
class Familiarity:
    """A scan among the training scans.

    Attributes:
        percentile: of the training scans, those that lie closer to the others than this one does.
        odd: numbers that no training scan has, in words, the oddest first.
        count: number of training scans.
    """

    percentile: float
    odd: tuple[str, ...]
    count: int

    @property
    def is_outside(self) -> bool:
        """Whether it lies further from the training scans than any of them from the others."""
        return self.percentile >= 100

    def sentence(self) -> str:
        """What a reader should know of it."""
        why = f" ({'; '.join(self.odd[:NAMED])})" if self.odd else ""
        if self.is_outside:
            return (
                f"its intensities and volume lie outside the training distribution: further from "
                f"the {self.count} training scans than any of these from the others{why}"
            )
        return (
            "intensities and volume lie inside the training distribution, at the "
            f"{ordinal(self.percentile)} percentile of its {self.count} scans{why}"
        )


@dataclass(frozen=True)
class Reference:
    """The numbers of N training scans, and what single scans are measured against.

    Attributes:
        measures: M of them.
        z_NM: in robust standard deviations from the median.
        own_N: distance of each scan from the others.
    """

    measures: tuple[Measure, ...]
    middle_M: NDArray[np.float64]
    spread_M: NDArray[np.float64]
    low_M: NDArray[np.float64]
    high_M: NDArray[np.float64]
    z_NM: NDArray[np.float64]
    own_N: NDArray[np.float64]

    @classmethod
    def of(cls, measures: Sequence[Measure], values_NM: NDArray[np.float64]) -> Reference:
        """The reference that these values make."""
        middle_M = np.median(values_NM, axis=0)
        # 1.4826 turns a normal distribution's median absolute deviation into its standard one.
        deviation_M = 1.4826 * np.median(np.abs(values_NM - middle_M), axis=0)
        # Of a number that most scans share, the deviation of all of them.
        deviation_M = np.where(deviation_M > 0, deviation_M, values_NM.std(axis=0))
        spread_M = np.maximum(deviation_M, np.maximum(LEAST_SPREAD * np.abs(middle_M), 1e-6))
        z_NM = (values_NM - middle_M) / spread_M
        own = [_distance(z_NM[n], np.delete(z_NM, n, axis=0)) for n in range(len(z_NM))]
        return cls(
            tuple(measures),
            middle_M,
            spread_M,
            values_NM.min(axis=0),
            values_NM.max(axis=0),
            z_NM,
            np.array(own),
        )

    def place(self, new_M: NDArray[np.float64]) -> Familiarity:
        """A new scan among them."""
        z_M = (new_M - self.middle_M) / self.spread_M
        beyond_M = (new_M < self.low_M) | (new_M > self.high_M)
        odd = tuple(
            _in_words(self.measures[m], new_M[m], self.low_M[m], self.high_M[m])
            for m in np.argsort(-np.abs(z_M))
            if beyond_M[m] and abs(z_M[m]) > ODD_Z
        )
        closer = (self.own_N < _distance(z_M, self.z_NM)).mean()
        return Familiarity(100 * float(closer), odd, len(self.own_N))


@dataclass(frozen=True)
class TrainingScans:
    """What is known of the scans that networks were trained on, each once."""

    scans: tuple[TrainingScan, ...]
    _references: dict[tuple[str, ...], Reference] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, several: Sequence[Sequence[TrainingScan]]) -> TrainingScans:
        """Those of several networks together."""
        by_voxels = {scan.sha256: scan for scans in several for scan in scans}
        return cls(tuple(by_voxels.values()))

    @property
    def brains(self) -> dict[str, int]:
        """How many brains were given, stripped or extracted, of those that say."""
        found = [scan.quality.brain for scan in self.scans if scan.quality.brain]
        return {name: found.count(name) for name in dict.fromkeys(found)}

    @property
    def brain_ml(self) -> tuple[float, float] | None:
        """Least and largest volume of their brains; None where they do not say."""
        found = [scan.quality.numbers.get("brain_ml") for scan in self.scans]
        known = [value for value in found if value is not None]
        return (min(known), max(known)) if known else None

    def compare(self, numbers: Mapping[str, Any]) -> Familiarity | None:
        """A new scan among them; None where they are too few, or do not say.

        Args:
            numbers: of quality control, of the new scan.
        """
        measures = [one for one in self._measures if numbers.get(one.name) is not None]
        if len(self.scans) < FEWEST or not measures:
            return None
        names = tuple(one.name for one in measures)
        if names not in self._references:
            rows = [[scan.quality.numbers[name] for name in names] for scan in self.scans]
            self._references[names] = Reference.of(measures, np.array(rows, np.float64))
        return self._references[names].place(np.array([float(numbers[name]) for name in names]))

    @cached_property
    def _measures(self) -> list[Measure]:
        """What all of them have a number of, in the order of quality control."""
        every = [scan.quality.numbers for scan in self.scans]
        known = qc.columns(every) if every else []
        return [m for m in known if m.is_of_head and all(m.name in numbers for numbers in every)]


def ordinal(value: float) -> str:
    """A whole number as an ordinal: 1st, 22nd, 13th."""
    number = int(value)
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{suffix or 'th'}"


def _distance(one_M: NDArray[np.float64], others_NM: NDArray[np.float64]) -> float:
    """Mean root mean square difference to the nearest of the others."""
    gaps_NM = np.minimum(np.abs(others_NM - one_M), MOST_Z)
    gaps_N = np.sqrt((gaps_NM**2).mean(axis=1))
    return float(np.sort(gaps_N)[:NEAREST].mean())


def _in_words(measure: Measure, value: float, low: float, high: float) -> str:
    factor = 100 if measure.name.startswith(PERCENT) else 1
    texts = [f"{factor * number:.{measure.digits}f}" for number in (value, low, high)]
    unit = f" {measure.unit}" if measure.unit else ""
    what = measure.meaning.partition(",")[0]
    return f"{what} {texts[0]}{unit}, {texts[1]} to {texts[2]} in training"
