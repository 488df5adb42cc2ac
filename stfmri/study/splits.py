"""Which subjects train and which test: drawn once, seeded, written, then only read.

Subjects that share a patient or an identical volume stay on one side: scores from a split that
ignores either can be too high by tens of points.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stfmri.study.config import Config
from stfmri.study.errors import ConfigError, LeakageError, UserError
from stfmri.study.files import write_atomic
from stfmri.study.shards import IndexRow, read_index

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1


@dataclass(frozen=True)
class Subject:
    """One volume of the cache, with its class."""

    subject_id: str
    patient_id: str
    source: str
    label: str
    sha256: str
    columns: Mapping[str, str] = field(default_factory=dict)  # of the cohort table, as text


@dataclass(frozen=True)
class Fold:
    """Subject ids of one division. `val` is a part taken from training, often empty."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """Every fold of a split, with the subjects that it divides."""

    path: Path
    classes: tuple[str, ...]
    folds: tuple[Fold, ...]
    subjects: dict[str, Subject]


def ensure(config: Config) -> Split:
    """Read the split that `config` names, drawing and writing it first where there is none.

    Raises:
        UserError: where the cohort has changed since the split was written, a class is too small,
            or the file on disk was drawn with other settings.
        LeakageError: where the file puts a patient or a volume on both sides.
    """
    split, text = _read_or_draw(config)
    if text is not None:
        write_atomic(split.path, text)
    return split


def check(config: Config) -> None:
    """Raise what `ensure` would raise; writes nothing."""
    _read_or_draw(config)


def _read_or_draw(config: Config) -> tuple[Split, str | None]:
    """The split, and the file's content where it is yet to be written."""
    rows = read_index(config.cache)
    subjects = subjects_of(rows, config.data.label, config.cache / "index.csv")
    classes = config.data.classes or tuple(sorted({subject.label for subject in subjects}))
    _check_classes(subjects, classes, config.data.label, config.cache / "index.csv")
    path = config.split_file
    settings = {
        "format": FORMAT,
        "kind": config.split.kind,
        "label": config.data.label,
        "classes": list(classes),
        "seed": config.split.seed,
        "test_fraction": config.split.test_fraction if config.split.kind == "random" else None,
        "val_fraction": config.split.val_fraction,
        "cohort_sha256": cohort_sha256(subjects),
    }
    text = None
    if path.is_file():
        folds = _read(path, settings)
    else:
        folds = draw(subjects, config)
        content = {**settings, "folds": [fold.__dict__ for fold in folds]}
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    by_id = {subject.subject_id: subject for subject in subjects}
    if len(folds) != config.split.n:
        raise UserError(
            f"{path} has {len(folds)} folds, expected split.n={config.split.n}; delete it to draw "
            "it anew"
        )
    for number, fold in enumerate(folds):
        guard(fold, by_id, f"{path}, fold {number}")
    return Split(path, classes, folds, by_id), text


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


def cohort_sha256(subjects: Sequence[Subject]) -> str:
    """Hash of who is in the cohort, with which class and which voxels, in any order."""
    rows = sorted((s.subject_id, s.patient_id, s.label, s.sha256) for s in subjects)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def draw(subjects: Sequence[Subject], config: Config) -> tuple[Fold, ...]:
    """Draw the folds: stratified by class, whole groups at a time, from the split's seed."""
    # Drawing happens once for a study; reading, on every submission, should not wait for this.
    import numpy as np
    from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit

    split = config.split
    groups = group_subjects(subjects)
    labels = np.array([Counter(s.label for s in group).most_common(1)[0][0] for group in groups])
    least = split.n if split.kind == "kfold" else 2
    for name, count in Counter(labels.tolist()).items():
        if count < least:
            patients = "patient" if count == 1 else "patients"
            raise UserError(
                f"class {name!r} has {count} independent {patients}; a {split.kind} split with "
                f"split.n={split.n} needs at least {least}: add scans or leave the class out"
            )
    if split.kind == "kfold":
        drawn = StratifiedKFold(split.n, shuffle=True, random_state=split.seed)
    else:
        drawn = StratifiedShuffleSplit(
            split.n, test_size=split.test_fraction, random_state=split.seed
        )
    folds = []
    try:
        for train, test in drawn.split(labels, labels):
            val: NDArray[np.intp] = train[:0]
            if split.val_fraction:
                inner = StratifiedShuffleSplit(
                    1, test_size=split.val_fraction, random_state=split.seed
                )
                kept, held = next(inner.split(labels[train], labels[train]))
                train, val = train[kept], train[held]
            parts = (
                tuple(sorted(s.subject_id for number in part for s in groups[number]))
                for part in (train, val, test)
            )
            folds.append(Fold(*parts))
    except ValueError as error:  # scikit-learn's own sentence says which part is too small
        raise UserError(
            f"the cohort ({len(groups)} independent patients) is too small to split as asked: "
            f"{error}; change split.test_fraction, split.val_fraction or split.n"
        ) from error
    return tuple(folds)


def group_subjects(subjects: Sequence[Subject]) -> list[list[Subject]]:
    """Connected components of subjects that share a patient or a volume, in a fixed order."""
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
    groups: dict[int, list[Subject]] = defaultdict(list)
    for number, subject in enumerate(ordered):
        groups[root(number)].append(subject)
    return list(groups.values())


def guard(fold: Fold, subjects: dict[str, Subject], where: str) -> None:
    """Refuse a fold that has a subject, a patient or an identical volume on two sides.

    Raises:
        LeakageError: naming what is shared.
        UserError: where it names somebody else, or nobody.
    """
    sides = {"train": fold.train, "val": fold.val, "test": fold.test}
    named = [name for ids in sides.values() for name in ids]
    if strangers := sorted(set(named) - set(subjects)):
        raise UserError(
            f"{where}: the cohort has no {', '.join(strangers[:5])}; delete the file to draw it "
            "anew"
        )
    if not fold.train or not fold.test:
        raise UserError(f"{where}: nobody to train or to test on; delete the file to draw it anew")
    for what in ("subject_id", "patient_id", "sha256"):
        seen: dict[str, tuple[str, str]] = {}
        shared = []
        for side, ids in sides.items():
            for subject_id in ids:
                value = getattr(subjects[subject_id], what)
                other = seen.setdefault(value, (side, subject_id))
                if other[0] != side:
                    shared.append(f"{other[1]} ({other[0]}) and {subject_id} ({side})")
        if shared:
            name = {"subject_id": "subject", "patient_id": "patient", "sha256": "volume"}[what]
            more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
            raise LeakageError(
                f"{where}: the same {name} stands on both sides: {', '.join(shared[:5])}{more}; "
                "nothing is trained on such a split: delete the file to draw it anew"
            )


def _check_classes(
    subjects: Sequence[Subject], classes: Sequence[str], label: str, file: Path
) -> None:
    found = {subject.label for subject in subjects}
    if unknown := sorted(found - set(classes)):
        raise ConfigError(
            f"{file}: column {label!r} holds the unknown class {', '.join(unknown)}; "
            f"data.classes lists {', '.join(classes)}"
        )
    if absent := sorted(set(classes) - found):
        raise ConfigError(f"{file}: no subject of the class {', '.join(absent)} in data.classes")
    if len(found) < 2:
        raise ConfigError(f"{file}: column {label!r} holds one class only, {', '.join(found)}")


def _read(path: Path, settings: dict[str, object]) -> tuple[Fold, ...]:
    """The folds of an existing file, which must have been drawn with these very settings."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        folds = tuple(
            Fold(**{side: tuple(map(str, ids)) for side, ids in fold.items()})
            for fold in content["folds"]
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is no split file ({error!r}); delete it to draw it anew"
        ) from error
    if content.get("cohort_sha256") != settings["cohort_sha256"]:
        raise UserError(
            f"{path} was drawn for another cohort: subjects, classes or voxels have changed since. "
            "Restore the cache, choose another split.seed, or delete the file and its sweeps' runs"
        )
    differing = [key for key, value in settings.items() if content.get(key) != value]
    if differing:
        changes = "; ".join(
            f"{key} is {content.get(key)!r} there, {settings[key]!r} here" for key in differing
        )
        raise UserError(f"{path} was drawn otherwise: {changes}. Choose another split.seed")
    return folds
