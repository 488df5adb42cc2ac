"""How like its training scans a new scan is: a percentile that means what it says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from launch.prediction.familiar import TrainingScans, ordinal
from stfmri.study.quality import Quality, TrainingScan

NAMES = ("brain_ml", "snr", "cnr", "mean", "median")
MEANS = np.array([1400.0, 12.0, 3.0, 0.5, 0.55])
SPREADS = np.array([120.0, 2.0, 0.5, 0.03, 0.04])


def scan_of(values: NDArray[np.float64], brain: str = "extracted") -> TrainingScan:
    numbers = dict(zip(NAMES, values.tolist(), strict=True))
    return TrainingScan(str(values), Quality(brain, f"scan {values}", numbers))


def scans_of(generator: np.random.Generator, count: int) -> list[TrainingScan]:
    return [scan_of(MEANS + SPREADS * generator.standard_normal(5)) for _ in range(count)]


def test_scans_of_the_same_kind_are_spread_evenly_over_the_percentiles() -> None:
    generator = np.random.default_rng(0)
    training = TrainingScans.of([scans_of(generator, 80)])
    found = [training.compare(scan.quality.numbers) for scan in scans_of(generator, 300)]
    percentiles = np.array([one.percentile for one in found if one is not None])
    assert len(percentiles) == 300
    for quarter in (25, 50, 75):
        assert abs((percentiles < quarter).mean() - quarter / 100) < 0.1
    # One in 81 is further out than all 80, by the exchange of equals.
    assert np.mean([one.is_outside for one in found if one is not None]) < 0.05


@pytest.mark.parametrize("name", ["brain_ml", "snr", "median"])
def test_a_number_that_no_training_scan_has_puts_a_scan_outside_and_is_named(name: str) -> None:
    generator = np.random.default_rng(1)
    training = TrainingScans.of([scans_of(generator, 60)])
    place = NAMES.index(name)
    values = MEANS.copy()
    values[place] += 9 * SPREADS[place]
    found = training.compare(dict(zip(NAMES, values.tolist(), strict=True)))
    assert found is not None
    assert found.is_outside
    assert len(found.odd) == 1
    assert (
        f"{values[place]:.{2 if name == 'median' else 0 if name == 'brain_ml' else 1}f}"
        in (found.odd[0])
    )
    assert "outside the training distribution" in found.sentence()


def test_what_lies_between_two_kinds_of_training_scans_is_outside() -> None:
    generator = np.random.default_rng(2)
    two = [
        scan_of(MEANS + side * 10 * SPREADS + SPREADS * generator.standard_normal(5))
        for side in (-1, 1)
        for _ in range(40)
    ]
    training = TrainingScans.of([two])
    between = training.compare(dict(zip(NAMES, MEANS.tolist(), strict=True)))
    among = training.compare(dict(zip(NAMES, (MEANS + 10 * SPREADS).tolist(), strict=True)))
    assert between is not None
    assert between.is_outside
    assert among is not None
    assert not among.is_outside


def test_scans_of_several_networks_count_once() -> None:
    generator = np.random.default_rng(3)
    scans = scans_of(generator, 9)
    training = TrainingScans.of([scans[:6], scans[3:]])
    assert len(training.scans) == 9
    assert training.brains == {"extracted": 9}
    assert training.brain_ml == (
        min(scan.quality.numbers["brain_ml"] for scan in scans),
        max(scan.quality.numbers["brain_ml"] for scan in scans),
    )


def test_a_handful_of_scans_or_none_is_not_compared_with() -> None:
    generator = np.random.default_rng(4)
    numbers = dict(zip(NAMES, MEANS.tolist(), strict=True))
    assert TrainingScans.of([scans_of(generator, 4)]).compare(numbers) is None
    assert TrainingScans.of([[]]).compare(numbers) is None


def test_a_number_that_some_scan_lacks_decides_nothing() -> None:
    generator = np.random.default_rng(5)
    scans = scans_of(generator, 20)
    del scans[0].quality.numbers["snr"]
    training = TrainingScans.of([scans])
    numbers = dict(zip(NAMES, MEANS.tolist(), strict=True))
    found = [training.compare({**numbers, "snr": value}) for value in (12.0, 1e6, None)]
    assert found[0] == found[1] == found[2]


def test_equal_training_scans_have_no_spread_and_still_tell_another_apart() -> None:
    training = TrainingScans(tuple(scan_of(MEANS) for _ in range(8)))
    numbers = dict(zip(NAMES, MEANS.tolist(), strict=True))
    same, far = training.compare(numbers), training.compare({**numbers, "mean": 0.9})
    assert same is not None
    assert far is not None
    assert not same.is_outside
    assert far.is_outside


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0th"), (1, "1st"), (2.9, "2nd"), (11, "11th"), (23, "23rd"), (99.9, "99th")],
)
def test_ordinals(value: float, expected: str) -> None:
    assert ordinal(value) == expected
