"""Columns of a cohort table as characteristics: which can be summarised, how, how far apart."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stfmri.study.shards import INDEX_COLUMNS

T = TypeVar("T")

# Text values of a column; with more, it is no characteristic but a remark, a date or a name.
MOST_VALUES = 12
# Whole numbers with no more values than this are codes, such as 0 and 1 or a grade.
MOST_CODES = 6
MISSING = ("", "na", "n/a", "nan", "null", "<na>")
# Words of a column's name that say it identifies a scan or a file.
IDENTIFYING = frozenset(
    (
        *("id", "ids", "uid", "guid", "mrn", "name", "date", "key", "hash", "md5", "sha256"),
        *("path", "file", "filename", "folder", "mask"),
    )
)


@dataclass(frozen=True)
class Characteristic:
    """One column of the cohort table that can be summarised.

    Attributes:
        name: of the column.
        values: its distinct values in order, of a column that is counted; empty of one that is
            averaged.
    """

    name: str
    values: tuple[str, ...] = ()

    @property
    def is_numeric(self) -> bool:
        """Whether it is averaged rather than counted."""
        return not self.values


@dataclass(frozen=True)
class Sorted:
    """The columns of a table: those summarised, and those left out with the reason."""

    characteristics: tuple[Characteristic, ...]
    left_out: tuple[tuple[str, str], ...]


def sort_columns(columns: Sequence[tuple[str, Sequence[str]]]) -> Sorted:
    """Say of each column whether it is averaged, counted or left out.

    Args:
        columns: name and values, as text, one value a scan.
    """
    kept: list[Characteristic] = []
    left_out: list[tuple[str, str]] = []
    for name, texts in columns:
        known = [text.strip() for text in texts if not is_missing(text)]
        values = set(known)
        if name in INDEX_COLUMNS or identifies(name):
            left_out.append((name, "identifies a scan or a file"))
        elif not values:
            left_out.append((name, "empty"))
        elif is_measured(known):
            kept.append(Characteristic(name))
        elif len(values) <= MOST_VALUES:
            kept.append(Characteristic(name, tuple(sorted(values, key=_rank))))
        else:
            left_out.append((name, f"{len(values):,} text values"))
    return Sorted(tuple(kept), tuple(left_out))


def is_missing(text: str) -> bool:
    """Whether a field of the table holds nothing, as tables and BIDS say it."""
    return text.strip().lower() in MISSING


def identifies(name: str) -> bool:
    """Whether a column's name says that it identifies a scan or a file."""
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return not IDENTIFYING.isdisjoint(words)


def is_measured(known: Sequence[str]) -> bool:
    """Whether all values are finite numbers, and not merely codes of a few groups."""
    numbers = [number(text) for text in known]
    if not all(map(math.isfinite, numbers)):
        return False
    whole = all(value.is_integer() for value in numbers)
    return not whole or len(set(numbers)) > MOST_CODES


def number(text: str) -> float:
    """The number a field holds; nan where it holds none."""
    try:
        return math.nan if is_missing(text) else float(text)
    except ValueError:
        return math.nan


def mean_difference(groups: Sequence[NDArray[np.float64]]) -> float:
    """The largest absolute standardised mean difference between any two groups.

    `|m₁ − m₂| / √((s₁² + s₂²) / 2)`, with n − 1 in the variances; nan where a group has fewer than
    two values, infinite where both are constant and differ. Austin, Stat Med 2009, equation 1.
    """
    return _largest(groups, _mean_difference)


def share_difference(groups: Sequence[Sequence[str]], values: Sequence[str]) -> float:
    """The largest standardised difference between the shares of `values` in any two groups.

    `√((p₁ − p₂)ᵀ S⁻¹ (p₁ − p₂))`, the last value left out, with S the mean of the two groups'
    multinomial covariances: Yang & Dalton, SAS Global Forum 2012, paper 335. Infinite where the
    groups differ in a direction in which neither varies.
    """
    shares = [
        np.array([Counter(group)[value] / len(group) for value in values[:-1]]) if group else None
        for group in groups
    ]
    known = [share for share in shares if share is not None]
    return math.nan if len(known) < len(groups) else _largest(known, _share_difference)


def _largest(groups: Sequence[T], difference: Callable[[T, T], float]) -> float:
    found = [
        difference(one, other)
        for position, one in enumerate(groups)
        for other in groups[position + 1 :]
    ]
    return math.nan if not found or any(map(math.isnan, found)) else max(found)


def _mean_difference(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    if min(len(one), len(other)) < 2:
        return math.nan
    gap = abs(float(one.mean() - other.mean()))
    spread = math.sqrt((one.var(ddof=1) + other.var(ddof=1)) / 2)
    if spread == 0:
        return math.inf if gap else 0.0
    return gap / spread


def _share_difference(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    gap = one - other
    covariance = sum(np.diag(p) - np.outer(p, p) for p in (one, other)) / 2
    if not gap.any():
        return 0.0
    inverse = np.linalg.pinv(covariance, hermitian=True)
    if not np.allclose(covariance @ inverse @ gap, gap, atol=1e-9):
        return math.inf
    return math.sqrt(float(gap @ inverse @ gap))


def _rank(value: str) -> tuple[bool, float, str]:
    """Numbers by size, then text by the alphabet."""
    size = number(value)
    return (math.isnan(size), 0.0 if math.isnan(size) else size, value)
