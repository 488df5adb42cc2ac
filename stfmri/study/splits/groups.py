"""Subjects of an index, and which of them belong together."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from stfmri.study.duplicates import Pair
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.shards import IndexRow
from stfmri.study.splits.record import Group, Subject


def subjects_of(rows: Sequence[IndexRow], label: str, file: Path) -> list[Subject]:
    """The subjects of an index, their class taken from the column `label`.

    Raises:
        UserError: where the column is missing, or empty for some subject.
    """
    known = list(rows[0].columns)
    if label not in known:
        raise ConfigError(
            f"{file} has no column {label!r} for data.label; it has {', '.join(known)}"
        )
    unlabelled = [row.subject_id for row in rows if not row.columns[label]]
    if unlabelled:
        raise UserError(
            f"{file}: column {label!r} is empty for {len(unlabelled)} subjects, "
            f"{unlabelled[0]} first; fill it in, or leave those scans out of the cohort"
        )
    return [
        Subject(
            row.subject_id, row.patient_id, row.source, row.columns[label], row.sha256, row.columns
        )
        for row in rows
    ]


def subjects_in(rows: Sequence[IndexRow], label: str) -> list[Subject]:
    """As `subjects_of`, for rows of several caches."""
    return [
        subject
        for folder, some in itertools.groupby(rows, key=lambda row: row.folder)
        for subject in subjects_of(list(some), label, (folder or Path()) / "index.csv")
    ]


def cohort_sha256(subjects: Sequence[Subject]) -> str:
    """Hash of who is in the cohort, with which class and which voxels, in any order."""
    rows = sorted((s.subject_id, s.patient_id, s.label, s.sha256) for s in subjects)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def group_subjects(subjects: Sequence[Subject], pairs: Iterable[Pair] = ()) -> list[list[Subject]]:
    """Connected components of subjects that share a patient or a volume, in a fixed order.

    Args:
        pairs: further subjects that belong together, such as scans that are almost the same; those
            with a subject that is not among `subjects` join nobody.
    """
    parent = list(range(len(subjects)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    ordered = sorted(subjects, key=lambda subject: subject.subject_id)
    first: dict[tuple[str, str], int] = {}
    for number, subject in enumerate(ordered):
        for shared in (("patient", subject.patient_id), ("volume", subject.sha256)):
            parent[root(number)] = root(first.setdefault(shared, number))
    place = {subject.subject_id: number for number, subject in enumerate(ordered)}
    for pair in pairs:
        if pair.subject_a in place and pair.subject_b in place:
            parent[root(place[pair.subject_b])] = root(place[pair.subject_a])
    groups: dict[int, list[Subject]] = defaultdict(list)
    for number, subject in enumerate(ordered):
        groups[root(number)].append(subject)
    return list(groups.values())


def majority(groups: Iterable[Group]) -> list[str]:
    """The most frequent class of each group."""
    return [Counter(s.label for s in group).most_common(1)[0][0] for group in groups]


def rarest(groups: Sequence[Group]) -> list[str]:
    """Of each group, the class that the fewest groups hold; lone ones go with the most frequent.

    Stratifying by it spreads a class that is in no group the majority.
    """
    holding = Counter(label for group in groups for label in {s.label for s in group})
    found = [
        min({s.label for s in group}, key=lambda name: (holding[name], name)) for group in groups
    ]
    counts = Counter(found)
    common = counts.most_common(1)[0][0]
    return [name if counts[name] > 1 else common for name in found]


def classes_of(groups: Iterable[Group]) -> set[str]:
    """Every class that some group holds."""
    return {subject.label for group in groups for subject in group}


def require_columns(subjects: Iterable[Subject], named: Sequence[str], key: str) -> None:
    """Refuse columns, named by `key`, that no subject has; every subject has a source.

    Raises:
        ConfigError: naming those that there are.
    """
    known = dict.fromkeys(["source", *(name for subject in subjects for name in subject.columns)])
    if unknown := [name for name in named if name not in known]:
        raise ConfigError(
            f"{key}: the cohort has no column {', '.join(unknown)}; it has {', '.join(known)}"
        )
