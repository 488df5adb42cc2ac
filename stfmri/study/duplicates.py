"""Scans that are almost the same: saved again, quantised again, moved by a slice.

A volume hash finds exact copies alone. Here volumes are compared by the correlation of their brain
voxels, in two steps, so that a cohort of hundreds takes seconds:

1. Each volume is standardised within its brain and averaged in blocks of some 8 mm; the cohort's
   mean is taken off, since all brains look alike. Pairs whose blocks correlate above `SIMILAR`,
   also when one is moved by a voxel along an axis, are candidates. Blocks are compared by a random
   projection to `DIRECTIONS` numbers, which keeps correlations to ±0.03 (Johnson & Lindenstrauss).
2. Candidates are compared at full resolution, in place and moved by half a voxel and by one voxel
   along each axis. A pair above `SAME` is reported.

The limits come from 96 heads of IXI (4,560 pairs of different people) and copies of them; see
tests/study/test_duplicates.py.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stfmri.study.errors import UserError
from stfmri.study.files import open_text, write_atomic
from stfmri.study.shards import IndexRow, Volumes

FILE_NAME = "duplicates.csv"
COLUMNS = ("subject_a", "subject_b", "correlation")
# Correlation of brain voxels above which two scans are taken for one. Of different people it is at
# most 0.76, 0.85 and 0.83 at 2, 4 and 8 mm; of copies that were saved or quantised again or have a
# slice more, at least 1.00, 0.97 and 0.97; moved by a slice of 1.2 mm 1.00, 0.98 and 0.92: at
# 8 mm, moved copies are missed, since voxels are interpolated elsewhere.
SAME = 0.95
# Correlation of block means above which a pair is worth a closer look: at most 0.72 of different
# people, at least 0.82 of those copies at 2 and 4 mm.
SIMILAR = 0.75
BLOCKS = 30  # along the longest side of a volume: 8 mm of a field of 240 mm
OVERLAP = 0.8  # of the smaller brain that two must share to be compared
FEW = 4  # volumes up to which every pair is a candidate: their mean is too much their own
DIRECTIONS = 1024  # of the random projection
# Three standard deviations of a projected correlation about `SIMILAR`: (1 - 0.75²) / √1024 each.
SLACK = 0.04
CHUNK = 512  # volumes whose similarities to all others are held at a time


@dataclass(frozen=True)
class Pair:
    """Two scans of different patients whose brains are almost the same."""

    subject_a: str
    subject_b: str
    correlation: float


def find(volumes: Volumes, rows: Sequence[IndexRow]) -> tuple[Pair, ...]:
    """The pairs of different patients that are almost the same, but not to the voxel; best first.

    Args:
        volumes: float16 (C, D, H, W) each; the first channel that is not all 0 is compared.
        rows: the scans to compare, each with each.
    """
    found = []
    for first, second in sorted(set(_candidates(volumes, rows))):
        one, other = rows[first], rows[second]
        # Of equal voxels the hash tells; a split keeps those together by itself.
        if one.patient_id != other.patient_id and one.sha256 != other.sha256:
            close = correlation(_volume(volumes, one), _volume(volumes, other))
            if close > SAME:
                found.append(Pair(one.subject_id, other.subject_id, close))
    return tuple(sorted(found, key=lambda pair: -pair.correlation))


def between(
    volumes: Volumes, some: Sequence[IndexRow], others: Sequence[IndexRow]
) -> tuple[Pair, ...]:
    """The pairs with one scan of `some` and one of `others`, best first."""
    ours = {row.subject_id for row in some}
    pairs = find(volumes, [*some, *others])
    return tuple(pair for pair in pairs if (pair.subject_a in ours) != (pair.subject_b in ours))


def correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Largest correlation of the voxels that lie in both brains, over small moves of `other`.

    Args:
        one: (D, H, W); 0 outside the brain, as is `other`.

    Returns:
        -1 … 1; -1 where the brains hardly overlap.
    """
    least = OVERLAP * min(np.count_nonzero(one), np.count_nonzero(other))
    best = -1.0
    for moved in _moves(other):
        both = (one > 0) & (moved > 0)
        if np.count_nonzero(both) > max(least, 1):
            first, second = one[both], moved[both]
            spread = float(first.std() * second.std())
            if spread > 0:
                first, second = first - first.mean(), second - second.mean()
                best = max(best, float((first * second).mean()) / spread)
    return best


def write(cache: Path, pairs: Iterable[Pair]) -> None:
    """Write `duplicates.csv`, also where there are none: then it says that they were looked for."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([p.subject_a, p.subject_b, f"{p.correlation:.4f}"] for p in pairs)
    write_atomic(cache / FILE_NAME, text.getvalue())


def read(cache: Path) -> tuple[Pair, ...]:
    """Read what `write` wrote; nothing where the cache is older than this check.

    Raises:
        UserError: where the file is damaged.
    """
    path = cache / FILE_NAME
    if not path.exists():
        return ()
    try:
        with open_text(path, newline="") as file:
            lines = csv.DictReader(file, strict=True)
            return tuple(
                Pair(line["subject_a"], line["subject_b"], float(line["correlation"]))
                for line in lines
            )
    except (csv.Error, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error!r}); python -m preprocessing writes it again"
        ) from error


def sentence(pair: Pair) -> str:
    """The pair in words."""
    return f"{pair.subject_a} and {pair.subject_b} ({pair.correlation:.3f})"


def _candidates(volumes: Volumes, rows: Sequence[IndexRow]) -> Iterator[tuple[int, int]]:
    """Numbers of the pairs that are worth a closer look, the smaller first."""
    count = len(rows)
    if count <= FEW:
        yield from itertools.combinations(range(count), 2)
        return
    voxels = max(1, round(max(volumes[rows[0].subject_id].shape) / BLOCKS))
    blocks = (_describe(_volume(volumes, row), voxels) for row in rows)
    described = _projected(blocks, count)
    described -= described[:, 0].mean(axis=0)
    described /= np.maximum(np.linalg.norm(described, axis=2, keepdims=True), 1e-6)
    in_place = described[:, 0]
    for start in range(0, count, CHUNK):
        part = described[start : start + CHUNK]
        # (volumes of the part, moves, all volumes)
        similar = (part @ in_place.T).max(axis=1)
        for first, second in zip(*np.nonzero(similar > SIMILAR - SLACK), strict=True):
            if start + first != second:
                yield min(start + first, int(second)), max(start + first, int(second))


def _projected(blocks: Iterable[NDArray[np.float32]], count: int) -> NDArray[np.float32]:
    """Each volume's block means along `DIRECTIONS` random directions, the same for all.

    Args:
        blocks: (7, blocks) of each volume, made one at a time.

    Returns:
        float32 (count, 7, `DIRECTIONS`): 28 kB a volume, where the blocks take 500.
    """
    found = np.empty((count, 7, DIRECTIONS), np.float32)
    directions: NDArray[np.float32] | None = None
    for number, means in enumerate(blocks):
        if directions is None:
            generator = np.random.default_rng(0)
            directions = generator.standard_normal((means.shape[1], DIRECTIONS), np.float32)
        found[number] = means @ directions
    return found


def _volume(volumes: Volumes, row: IndexRow) -> NDArray[np.float32]:
    """The first channel that is there (D, H, W): a copy may lack another contrast."""
    channels = volumes[row.subject_id]
    there = next((channel for channel in channels if channel.any()), channels[0])
    return there.astype(np.float32)


def _moves(volume_DHW: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """The volume in place, then moved by half a voxel and by one, each way along each axis."""
    yield volume_DHW
    for axis, move in itertools.product(range(3), (1, -1)):
        moved = np.roll(volume_DHW, move, axis)
        yield moved
        yield np.where((volume_DHW > 0) & (moved > 0), (volume_DHW + moved) / 2, 0)


def _describe(volume_DHW: NDArray[np.float32], voxels: int) -> NDArray[np.float32]:
    """Block means of a standardised brain: in place, then moved by a voxel along each axis.

    Returns:
        float32 (7, blocks).
    """
    inside = volume_DHW > 0
    values = volume_DHW[inside]
    standard = np.zeros_like(volume_DHW)
    if values.size:
        standard[inside] = (values - values.mean()) / max(float(values.std()), 1e-6)
    # Of a fine volume, moves by half a block are enough, and half as fine is an eighth of the work.
    fine = max(1, voxels // 2)
    for axis in range(3):
        standard = _block_means(standard, fine, axis)
    rest = max(1, voxels // fine)
    found = []
    for axis in range(3):
        coarse = standard
        for other in {0, 1, 2} - {axis}:
            coarse = _block_means(coarse, rest, other)
        moves = (0, 1, -1) if axis == 0 else (1, -1)
        found += [_block_means(np.roll(coarse, move, axis), rest, axis) for move in moves]
    return np.stack([blocks.ravel() for blocks in found])


def _block_means(values: NDArray[np.float32], voxels: int, axis: int) -> NDArray[np.float32]:
    """Means of `voxels` neighbours along `axis`; the last block is filled up with zeros."""
    if voxels == 1:
        return values
    padding = [(0, 0)] * values.ndim
    padding[axis] = (0, -values.shape[axis] % voxels)
    padded = np.moveaxis(np.pad(values, padding), axis, 0)
    total = padded[::voxels].copy()
    for number in range(1, voxels):
        total += padded[number::voxels]
    total /= voxels
    return np.moveaxis(total, 0, axis)
