"""What to look at in a volume: warnings in words, from its numbers and from its cohort's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stfmri.study.duplicates import Pair
from stfmri.study.shards import IndexRow
from stfmri.study.words import listed

Numbers = Mapping[str, Any]

# Adult brains with their CSF; what lies beyond is more likely a wrong mask than a person.
BRAIN_ML = (900.0, 2200.0)
# Robust standard deviations from the median of its source at which a volume stands out.
OUTLYING = 4.0
# Scans a source must have before its own spread says anything.
ENOUGH = 10
# A brain may touch the field's floor at the spinal cord, about 1 cm² of it, but not more.
BORDER_CM2 = 2.0
# The percentiles themselves clip a hundredth of the brain; a saturated scan, or a mask with air in
# it, has many voxels of one extreme value.
CLIPPED_MORE = 0.04
# Part of the brain that a further contrast must show.
LEAST_COVERED = 0.95
# Normalised mutual information of a registered contrast that was moved far: 1.042 and more of
# one head as scanned, at most 1.020 of another person's or of noise.
LEAST_LIKENESS, MOVED_MM = 1.025, 10.0
# Of the brain mask with the template's: 0.956 and more of six heads, at most 0.882 upside down.
LEAST_DICE = 0.92
# Least spreads that count, so that a cohort of near-equal values has no outliers.
LEAST_ML = 1.0
LEAST_LOG = 0.05  # of a logarithm: 5 %
LEAST_NMI = 0.01


def warn(
    rows: Sequence[IndexRow],
    measures: Sequence[Numbers],
    pairs: Sequence[Pair] = (),
    percentiles: tuple[float, float] = (0.5, 99.5),
) -> list[list[str]]:
    """The warnings of each volume; none for most.

    Args:
        measures: of each row.
        pairs: scans of different patients that are almost the same.
        percentiles: of the brain, that became 0 and 1.
    """
    found: list[list[str]] = [[] for _ in rows]
    for texts, numbers in zip(found, measures, strict=True):
        texts += warn_alone(numbers, percentiles)
    for check in (_volumes, _noise, _overlaps):
        for texts, text in zip(found, check(rows, measures), strict=True):
            texts += text
    for texts, text in zip(found, _copies(rows, pairs), strict=True):
        texts += text
    return found


def warn_alone(numbers: Numbers, percentiles: tuple[float, float]) -> list[str]:
    """What a volume's own numbers say, whatever its cohort's."""
    usual_clipped = (percentiles[0] + 100 - percentiles[1]) / 100
    return list(_alone(numbers, usual_clipped + CLIPPED_MORE))


def volume_z(rows: Sequence[IndexRow], measures: Sequence[Numbers]) -> list[float | None]:
    """How far each brain's volume lies from its peers', in robust standard deviations."""
    return [z for z, _ in _against_peers(rows, measures, "brain_ml", float, LEAST_ML)]


def _alone(numbers: Numbers, most_clipped: float) -> Iterator[str]:
    """What a volume's own numbers say."""
    if not BRAIN_ML[0] <= numbers["brain_ml"] <= BRAIN_ML[1]:
        yield f"brain of {numbers['brain_ml']:.0f} ml"
    if numbers["border_cm2"] > BORDER_CM2:
        yield f"brain cut by the scan's edge ({numbers['border_cm2']:.0f} cm²)"
    if not numbers["oriented"]:
        yield "left and right unknown"
    if (clipped := numbers.get("clipped") or 0) > most_clipped:
        yield f"{100 * clipped:.0f} % of the brain clipped"
    if numbers.get("looks_stripped"):
        yield "looks brain-extracted already: if it is, say so (stripped=true)"
    if missing := numbers.get("missing"):
        yield f"without {listed(missing)}"
    for contrast in _registered(numbers, "far_apart_"):
        if numbers[f"far_apart_{contrast}"]:
            apart = numbers[f"far_apart_{contrast}"]
            yield (
                f"{contrast} lies {apart:.0f} mm from {numbers['reference']}: are both of one "
                "person?"
            )
    for contrast in _registered(numbers, "shift_mm_"):
        likeness, shift = numbers.get(f"nmi_after_{contrast}"), numbers[f"shift_mm_{contrast}"]
        if likeness is not None and likeness < LEAST_LIKENESS and (shift or 0) > MOVED_MM:
            yield (
                f"{contrast} was moved by {shift:.0f} mm and still hardly fits (overlap "
                f"{likeness:.3f}): look at its lines"
            )
    if (dice := numbers.get("mni_dice")) is not None and dice < LEAST_DICE:
        yield f"does not fit the template (Dice {dice:.2f})"
    # Only of contrasts on a grid of their own; on a shared one the header is mostly right.
    for contrast in _registered(numbers, "covered_"):
        covered = numbers[f"covered_{contrast}"]
        if numbers.get(f"kept_header_{contrast}"):
            yield f"{contrast} was not registered, since no move made it fit better"
        if covered is not None and covered < LEAST_COVERED:
            yield f"{contrast} covers {100 * covered:.0f} % of the brain"


def _volumes(rows: Sequence[IndexRow], measures: Sequence[Numbers]) -> Iterator[list[str]]:
    for z, peers in _against_peers(rows, measures, "brain_ml", float, LEAST_ML):
        yield [f"volume unlike {peers}"] if z is not None and abs(z) > OUTLYING else []


def _noise(rows: Sequence[IndexRow], measures: Sequence[Numbers]) -> Iterator[list[str]]:
    against = _against_peers(rows, measures, "snr", _log, LEAST_LOG)
    for (z, peers), numbers in zip(against, measures, strict=True):
        odd = z is not None and abs(z) > OUTLYING
        yield [f"signal to noise of {numbers['snr']:.1f} unlike {peers}"] if odd else []


def _overlaps(rows: Sequence[IndexRow], measures: Sequence[Numbers]) -> Iterator[list[str]]:
    """Contrasts that fit their reference much less than others of the cohort do."""
    found: list[list[str]] = [[] for _ in rows]
    contrasts = {name for numbers in measures for name in _registered(numbers, "nmi_after_")}
    for contrast in sorted(contrasts):
        key = f"nmi_after_{contrast}"
        against = _against_peers(rows, measures, key, float, LEAST_NMI)
        for texts, (z, peers), numbers in zip(found, against, measures, strict=True):
            if z is not None and z < -OUTLYING:
                texts.append(f"{contrast} fits badly (overlap {numbers[key]:.3f}), unlike {peers}")
    yield from found


def _copies(rows: Sequence[IndexRow], pairs: Sequence[Pair]) -> Iterator[list[str]]:
    almost: dict[str, list[str]] = {}
    for pair in pairs:
        for one, other in (pair.subject_a, pair.subject_b), (pair.subject_b, pair.subject_a):
            almost.setdefault(one, []).append(f"{other} ({pair.correlation:.3f})")
    twins: dict[str, list[str]] = {}
    for row in rows:
        twins.setdefault(row.sha256, []).append(row.subject_id)
    for row in rows:
        texts = []
        if same := [subject for subject in twins[row.sha256] if subject != row.subject_id]:
            texts.append(f"same voxels as {', '.join(same)}")
        if others := almost.get(row.subject_id):
            texts.append(f"almost the same as {', '.join(others)}, of another patient")
        yield texts


def _against_peers(
    rows: Sequence[IndexRow],
    measures: Sequence[Numbers],
    key: str,
    scale: Callable[[float], float],
    least: float,
) -> list[tuple[float | None, str]]:
    """Each volume's robust z of a measure, and whom it was compared with.

    Peers are the volumes of its source with the same reference contrast, or those of the cohort
    where its source has too few. z is None where the cohort has too few as well, or the measure is
    unknown.
    """
    values = np.array(
        [np.nan if numbers.get(key) is None else scale(numbers[key]) for numbers in measures]
    )
    references = np.array([numbers.get("reference", "") for numbers in measures])
    sources = np.array([row.source for row in rows])
    # Of each group of peers: how many, their median, their spread, and their name.
    peers_of: dict[tuple[str, str], tuple[int, float, float, str]] = {}
    for source, reference in set(zip(sources, references, strict=True)):
        alike = (references == reference) & ~np.isnan(values)
        own = alike & (sources == source)
        within = np.count_nonzero(own) >= ENOUGH
        peers = values[own if within else alike]
        name = "its source" if within else "the cohort"
        peers_of[source, reference] = (len(peers), *_middle_and_spread(peers), name)
    found: list[tuple[float | None, str]] = []
    for value, source, reference in zip(values, sources, references, strict=True):
        count, middle, spread, name = peers_of[source, reference]
        known = not np.isnan(value) and count >= ENOUGH
        found.append((float((value - middle) / max(spread, least)) if known else None, name))
    return found


def _middle_and_spread(peers: NDArray[np.float64]) -> tuple[float, float]:
    if not peers.size:
        return 0.0, 0.0
    middle = float(np.median(peers))
    # 1.4826 turns a normal distribution's median absolute deviation into its standard deviation.
    return middle, 1.4826 * float(np.median(np.abs(peers - middle)))


def _log(value: float) -> float:
    return float(np.log(max(value, 1e-3)))


def _registered(numbers: Numbers, prefix: str) -> list[str]:
    return [name.removeprefix(prefix) for name in numbers if name.startswith(prefix)]
