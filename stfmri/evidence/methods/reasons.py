"""Why scans gave no volume, grouped: the reasons in `rejected.csv` name numbers and files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stfmri.study.rejected import Rejected

# What differs between two scans rejected for one reason: file names, numbers, lists of numbers.
FILE = re.compile(r"\S*[\\/]\S+|\S+\.nii(\.gz)?\b")
NUMBER = re.compile(r"[-−]?\d[\d.,]*(?:e[-+]?\d+)?(?:\s*[×x]\s*[-−]?\d[\d.,]*)*")
MOST_KINDS = 6  # named one by one in a sentence or a diagram
LONGEST = 90  # characters of a reason; the rest of a sentence is in rejected.csv


@dataclass(frozen=True)
class Kind:
    """One kind of reason, and how many scans it took."""

    reason: str
    count: int


def kinds_of(rejected: Sequence[Rejected]) -> tuple[Kind, ...]:
    """The kinds of reason, the commonest first.

    A kind of a single wording is printed as it stands; where scans differ in numbers or file names
    these become `…`.
    """
    groups: dict[str, list[str]] = {}
    for scan in rejected:
        groups.setdefault(_pattern(scan.reason), []).append(scan.reason)
    kinds = [
        Kind(_short(reasons[0] if len(set(reasons)) == 1 else pattern), len(reasons))
        for pattern, reasons in groups.items()
    ]
    return tuple(sorted(kinds, key=lambda kind: (-kind.count, kind.reason)))


def named(kinds: Sequence[Kind]) -> list[str]:
    """Each kind with its count, as `reason (n = 3)`; beyond `MOST_KINDS`, the rest as one."""
    shown = [f"{kind.reason} (n = {kind.count:,})" for kind in kinds[:MOST_KINDS]]
    rest = sum(kind.count for kind in kinds[MOST_KINDS:])
    return [*shown, f"other reasons (n = {rest:,})"] if rest else shown


def _pattern(reason: str) -> str:
    """The reason without what belongs to one scan."""
    general = NUMBER.sub("…", FILE.sub("…", reason))
    return re.sub(r"…(?:[\s,;]*…)+", "…", general)


def _short(reason: str) -> str:
    """Its first clause; what to do about it, after a semicolon, is for whoever built the cache."""
    clause = reason.split(";")[0].strip()
    return clause if len(clause) <= LONGEST else clause[: LONGEST - 1].rstrip() + "…"
