"""Which columns of a cohort table may serve beside the images, and which give the class away."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from preprocessing.cohorts.labels import is_unknown
from stfmri.study.table_columns import number_of

MOST_GROUPS = 10  # values of a column of groups, or of a class
COPY = 0.9  # how far a column decides the class, from which on it counts as a copy of it
MOST_UNKNOWN = 0.5  # share of the subjects, above which a column is of no use
# Names of columns that identify, count or date a subject, or say where its files are.
NO_FACT = re.compile(
    r"(.*[_ -])?(id|ids|mrn|nr|no|num|number|index|row|fold|split|date|time|dob|birth|file|path"
    r"|name|comment|comments|note|notes)([_ -].*)?|unnamed.*|path_.*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Column:
    """A column, as far as it says something of a subject.

    Attributes:
        name: in the table.
        groups: value → subjects, where it has few values; else empty.
        numbers: least, median and greatest, where it has many; else empty.
        unknown: subjects without a value.
        decides: how far it decides the class, from 0 (not at all) to 1 (every subject's).
        order: the classes by the mean of its numbers; empty for a column of groups.
    """

    name: str
    groups: Mapping[str, int]
    numbers: tuple[float, ...]
    unknown: int
    decides: float
    order: tuple[str, ...] = ()

    @property
    def is_copy(self) -> bool:
        """Whether it is the class under another name."""
        return self.decides >= COPY

    def __str__(self) -> str:
        if self.numbers:
            low, middle, high = self.numbers
            text = f"{low:g} to {high:g}, median {middle:g}"
        else:
            text = ", ".join(f"{value} {count}" for value, count in self.groups.items())
        return f"{self.name} ({text}{f', {self.unknown} unknown' if self.unknown else ''})"


def describe(name: str, values: Sequence[str], labels: Sequence[str]) -> Column | None:
    """What a column says; None of one that identifies subjects, or says nothing.

    Args:
        values: its cells, one a subject.
        labels: the class of each.
    """
    pairs = [
        (value, label) for value, label in zip(values, labels, strict=True) if not is_unknown(value)
    ]
    known = [value for value, _ in pairs]
    distinct = set(known)
    few = len(distinct) <= MOST_GROUPS
    if NO_FACT.fullmatch(name) or len(distinct) < 2 or len(known) < MOST_UNKNOWN * len(values):
        return None
    unknown = len(values) - len(known)
    if few and len(distinct) < len(known):
        groups = dict(sorted(Counter(known).items(), key=lambda item: in_order(item[0])))
        return Column(name, groups, (), unknown, decided_by_groups(known, [y for _, y in pairs]))
    numbers = [number_of(value) for value in known]
    if any(map(math.isnan, numbers)) or _is_numbering(numbers):
        return None
    ordered = sorted(numbers)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    classes = [label for _, label in pairs]
    return Column(
        name,
        {},
        (ordered[0], middle, ordered[-1]),
        unknown,
        decided_by_numbers(numbers, classes),
        _by_mean(numbers, classes),
    )


def decided_by_groups(groups: Sequence[str], labels: Sequence[str]) -> float:
    """How far a group decides the class: 0 for no more than the commonest class does, 1 for all.

    Each subject is given the commonest class of the others in its group (Goodman and Kruskal's
    lambda, leaving one out, so that groups of one subject say nothing).
    """
    of_group: dict[str, Counter[str]] = {}
    for group, label in zip(groups, labels, strict=True):
        of_group.setdefault(group, Counter())[label] += 1
    right = sum(
        _is_commonest_of_others(of_group[group], label)
        for group, label in zip(groups, labels, strict=True)
    )
    chance = max(Counter(labels).values()) / len(labels)
    return 1.0 if chance == 1 else max(0.0, (right / len(labels) - chance) / (1 - chance))


def decided_by_numbers(numbers: Sequence[float], labels: Sequence[str]) -> float:
    """How far numbers decide the class: how often neighbours in their order share it.

    0 is as often as by chance, 1 as often as where thresholds cut the numbers into the classes.
    """
    counts = Counter(labels)
    chance = sum((count / len(labels)) ** 2 for count in counts.values())
    best = 1 - (len(counts) - 1) / max(1, len(labels) - 1)
    if best <= chance:
        return 0.0
    ordered = [label for _, label in sorted(zip(numbers, labels, strict=True))]
    agree = sum(one == other for one, other in pairwise(ordered)) / (len(labels) - 1)
    return max(0.0, (agree - chance) / (best - chance))


def in_order(text: str) -> tuple[bool, float, str]:
    """A key that sorts numbers by their value, and words after them."""
    number = number_of(text)
    is_word = math.isnan(number)
    return is_word, 0.0 if is_word else number, text


def _is_commonest_of_others(counts: Counter[str], label: str) -> bool:
    others = counts.copy()
    others[label] -= 1
    return others[label] > 0 and others[label] == max(others.values())


def _is_numbering(numbers: Sequence[float]) -> bool:
    """Whether it is a row's number or a code: whole numbers, all different, 1 to n or large."""
    different = set(numbers)
    if len(different) < len(numbers) or any(number % 1 for number in numbers):
        return False
    return max(numbers) - min(numbers) + 1 == len(numbers) or min(numbers) >= 1000


def _by_mean(numbers: Sequence[float], labels: Sequence[str]) -> tuple[str, ...]:
    of_class: dict[str, list[float]] = {}
    for number, label in zip(numbers, labels, strict=True):
        of_class.setdefault(label, []).append(number)
    return tuple(sorted(of_class, key=lambda name: sum(of_class[name]) / len(of_class[name])))
