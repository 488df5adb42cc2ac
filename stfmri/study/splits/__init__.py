"""Which subjects train and which test: drawn once, seeded, written, then only read.

Subjects that share a patient or an identical volume stay on one side, and so do scans that are
almost the same unless the user says otherwise: scores from a split that ignores this can be too
high by tens of points. A kind of split is a record in a file of its own,
listed in `SPLITS`; nothing else knows its name.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stfmri.study import chains, duplicates
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.shards import IndexRow, Volumes, read_index
from stfmri.study.splits.checks import guard, notes_on, refuse_degenerate, refuse_divided
from stfmri.study.splits.column import COLUMN
from stfmri.study.splits.external import EXTERNAL
from stfmri.study.splits.facts import Facts, Tested, facts
from stfmri.study.splits.file import FORMAT, SplitFile, require_unchanged
from stfmri.study.splits.file import read as read_file
from stfmri.study.splits.file import write as write_file
from stfmri.study.splits.fraction import reduced
from stfmri.study.splits.groups import (
    cohort_sha256,
    group_subjects,
    require_columns,
    subjects_in,
    subjects_of,
)
from stfmri.study.splits.inner import inner_file
from stfmri.study.splits.kfold import KFOLD
from stfmri.study.splits.random import RANDOM
from stfmri.study.splits.record import Described, Fold, Request, Sides, SplitKind, Subject
from stfmri.study.splits.source import SOURCE
from stfmri.study.splits.stratify import held_out
from stfmri.study.splits.together import is_of, linked, require_same_folds, require_same_subjects
from stfmri.study.words import counted, listed

if TYPE_CHECKING:
    # At run time it is the configuration that imports the kinds.
    from stfmri.study.config import Config
    from stfmri.study.config.split import SplitConfig

__all__ = [
    "FORMAT",
    "SPLITS",
    "UNHASHED",
    "Facts",
    "Fold",
    "Split",
    "SplitFile",
    "SplitKind",
    "Subject",
    "Tested",
    "as_submitted",
    "check",
    "cohort_sha256",
    "describe",
    "draw",
    "ensure",
    "facts",
    "group_subjects",
    "guard",
    "needs_data",
    "notes_of",
    "read_file",
    "reduced",
    "require_columns",
    "require_unchanged",
    "resolved",
    "rows_for",
    "rows_in",
    "rows_of",
    "subjects_in",
    "subjects_of",
    "whole",
    "write_file",
]

SPLITS: Mapping[str, SplitKind] = {
    kind.name: kind for kind in (RANDOM, KFOLD, SOURCE, COLUMN, EXTERNAL)
}
# Keys of `split` that a submission fills in; empty or 0 until then.
FILLED_IN = ("n", "column", "sha256")
UNHASHED = (
    "the sweep was submitted before split files were hashed: an edit of the file since then would "
    "go unseen"
)


@dataclass(frozen=True)
class Split:
    """Every fold of a split, with the subjects that it divides.

    Attributes:
        subjects: by id; those of an external cohort included.
        notes: what should be known before anything trains, and by a reader of the results.
        file: as written, or as it will be.
    """

    path: Path
    classes: tuple[str, ...]
    folds: tuple[Fold, ...]
    subjects: dict[str, Subject]
    notes: tuple[str, ...]
    file: SplitFile

    @property
    def kind(self) -> str:
        """Name of its kind."""
        return self.file.kind

    @property
    def settings(self) -> Mapping[str, object]:
        """What it was drawn with, as the file has it."""
        return self.file.settings

    @property
    def sha256(self) -> str:
        """Hash of folds, classes and cohort."""
        return self.file.sha256

    def fold_of(self, config: SplitConfig) -> Fold:
        """The fold that a run takes, with the fraction of the training part that it asks for."""
        return reduced(self.file, config.fold, self.subjects, config.train_fraction)

    def numbers(self, subject_ids: Iterable[str]) -> list[int]:
        """The class of each subject, by its place in `classes`."""
        places = {name: number for number, name in enumerate(self.classes)}
        return [places[self.subjects[subject_id].label] for subject_id in subject_ids]

    @property
    def facts(self) -> Facts:
        """How many patients are tested, how often, and how many never."""
        return facts(self.folds, self.subjects, self.classes)


def ensure(config: Config, beside: Sequence[Config] = ()) -> Split:
    """Read the split that `config` names, drawing and writing it first where there is none.

    Args:
        beside: configurations of the same sweep that read other caches: all of them divide the
            same subjects in the same way.

    Raises:
        UserError: where the cohort has changed since the split was written, a class is too small,
            a fold lacks a class, or the file on disk was drawn with other settings or is not the
            one that `split.sha256` tells of.
        CacheError: where the cache holds other channels or voxels than `config` asks for.
        UserError: where a cache beside holds other subjects, or has them divided otherwise.
        LeakageError: where the file puts a patient or a volume on both sides.
    """
    if config.split.inner and not config.split_file.is_file():
        ensure(whole(config), beside)
    split = check(config, beside)
    if not split.path.is_file():
        write_file(split.file)
    return split


def check(config: Config, beside: Sequence[Config] = ()) -> Split:
    """As `ensure`, but nothing is written.

    Of an inner run (`split.inner`) the split names nobody but the subjects of its own inner
    division: not those that its fold tests, and no other fold's.
    """
    if config.split.inner:
        return _inner(check(whole(config), beside), config)
    config = resolved(config)
    kind = SPLITS[config.split.kind]
    cache = config.cache
    index = cache / "index.csv"
    rows = rows_of(config)
    subjects = subjects_in(rows, config.data.label)
    own = [s for s, row in zip(subjects, rows, strict=True) if row.folder == cache]
    external = [s for s, row in zip(subjects, rows, strict=True) if row.folder != cache]
    classes = config.data.classes or tuple(sorted({subject.label for subject in own}))
    _check_classes(own, external, classes, config)
    chains.require(rows, config.chain, config.data.channels)
    expected = SplitFile(
        path=config.split_file,
        kind=kind.name,
        label=config.data.label,
        classes=classes,
        folds=(),
        cohort_sha256=cohort_sha256(subjects),
        settings={
            "n": config.split.n,
            "seed": config.split.seed,
            **kind.settings(config, own),
            "val_fraction": config.split.val_fraction,
        },
    )
    others = {one.cache: rows_of(one) for one in beside}
    require_same_subjects({cache: rows, **others})
    written = _written(beside, subjects)
    pairs = duplicates.read(cache)
    joined = _to_join([*pairs, *(pair for c in others for pair in duplicates.read(c))], own, config)
    if expected.path.is_file():
        file = _read(expected)
    elif same := [other for other in written if not other.differences(expected)]:
        between = _pairs(config)
        file = replace(expected, folds=same[0].folds, near_duplicates=between, joined=joined)
    else:
        theirs = [row for their_rows in others.values() for row in their_rows]
        together = linked(own, subjects_in(theirs, config.data.label)) if theirs else own
        file = _drawn(expected, together, external, config, joined)
    for other in written:
        require_same_folds(file, other)
    require_unchanged(file, config.split.sha256)
    by_id = {subject.subject_id: subject for subject in subjects}
    count = kind.folds(config.split)
    if len(file.folds) != count:
        raise UserError(
            f"{file.path} has {len(file.folds)} folds, expected split.n={count}; delete it to draw "
            "it anew"
        )
    for number, fold in enumerate(file.folds):
        guard(fold, by_id, f"{file.path}, fold {number}")
    where = str(file.path) if file.path.is_file() else f"split={kind.name} of {index}"
    refuse_divided(file.folds, joined, where)
    refuse_degenerate(file.folds, by_id, classes, kind, where)
    notes = notes_of(file, by_id, (*pairs, *file.near_duplicates))
    return Split(file.path, classes, file.folds, by_id, notes, file)


def whole(config: Config) -> Config:
    """The configuration with its folds undivided, as they are outside of a selection."""
    return replace(config, split=replace(config.split, inner=0.0))


def _inner(outer: Split, config: Config) -> Split:
    """The inner division of the fold that `config` names, and of that one alone."""
    split = config.split
    divided = replace(outer.file, folds=outer.folds)
    file = inner_file(divided, outer.subjects, split.inner, split.seed)
    mine, nobody = file.folds[split.fold], Fold((), (), ())
    folds = tuple(mine if number == split.fold else nobody for number in range(len(file.folds)))
    subjects = {name: outer.subjects[name] for name in (*mine.train, *mine.val, *mine.test)}
    return Split(file.path, outer.classes, folds, subjects, (), file)


def draw(
    subjects: Sequence[Subject],
    config: Config,
    external: Sequence[Subject] = (),
    joined: Sequence[duplicates.Pair] = (),
) -> tuple[Fold, ...]:
    """Draw the folds: whole groups at a time, from the split's seed.

    Args:
        subjects: of the cohort itself.
        external: of the cohort that is only tested, for kinds that have one.
        joined: pairs of the cohort that are kept on one side, though of two patients.

    Raises:
        UserError: where the cohort is too small, or a fold would lack a class.
        LeakageError: where the user's own folds divide a patient or a volume.
    """
    split, kind = config.split, SPLITS[config.split.kind]
    classes = tuple(sorted({subject.label for subject in subjects}))
    drawn = kind.draw(Request(subjects, external, classes, split, joined))
    folds = tuple(_fold(sides, split.val_fraction, split.seed) for sides in drawn)
    by_id = {subject.subject_id: subject for subject in (*subjects, *external)}
    refuse_degenerate(folds, by_id, classes, kind, f"split={kind.name}")
    return folds


def resolved(config: Config) -> Config:
    """`config` with what its split takes from the data filled in: the number of folds, a column.

    Raises:
        UserError: where the data does not fit the kind of split, or is not there.
    """
    resolve = SPLITS[config.split.kind].resolve
    if resolve is None:
        return config
    rows = read_index(config.cache)
    subjects = subjects_of(rows, config.data.label, config.cache / "index.csv")
    return replace(config, split=resolve(config, subjects))


def needs_data(config: Config) -> bool:
    """Whether the number of folds is known only when the data has been read."""
    return SPLITS[config.split.kind].resolve is not None


def as_submitted(config: Config, saved: Config) -> Config:
    """`config`, with what a submission fills in as `saved` has it where `config` leaves it open."""
    missing = {
        key: getattr(saved.split, key) for key in FILLED_IN if not getattr(config.split, key)
    }
    return replace(config, split=replace(config.split, **missing))


def rows_of(config: Config) -> list[IndexRow]:
    """Every volume that the runs of `config` train or test on, each with its cache in `folder`.

    Raises:
        UserError: where an index cannot be read, or both cohorts of an external test have a
            subject of one name.
    """
    return rows_in(config.cache, config.external_cache)


def rows_in(cache: Path, external: Path | None) -> list[IndexRow]:
    """The rows of a cache, and those of an external cohort's."""
    rows = read_index(cache)
    if external is None:
        return rows
    others = read_index(external)
    if shared := sorted({row.subject_id for row in rows} & {row.subject_id for row in others}):
        raise UserError(
            f"{cache} and {external} both have the subject {listed(shared)}; rename the subjects "
            "of one cohort, or leave those scans out of it"
        )
    return [*rows, *others]


def rows_for(config: Config, fold: Fold) -> list[IndexRow]:
    """The volumes of one fold alone: those of other subjects cannot be opened by its run."""
    named = {*fold.train, *fold.val, *fold.test}
    return [row for row in rows_of(config) if row.subject_id in named]


def notes_of(
    file: SplitFile, subjects: Mapping[str, Subject], pairs: Sequence[duplicates.Pair]
) -> tuple[str, ...]:
    """What should be known of the folds, a sentence each.

    Args:
        subjects: by id, those of the cohort and of the external one.
        pairs: suspicious ones, of which some may stand on two sides.
    """
    kind = SPLITS.get(file.kind)
    if kind is None:  # an old file, which does not say
        return ()
    return tuple(notes_on(file.folds, subjects, file.classes, kind, pairs, file.joined))


def describe(split: Described, folds: Sequence[int] | None = None) -> str:
    """What a paper would call the split, without a full stop.

    Args:
        folds: those that were run, where it is not all of them.
    """
    kind = SPLITS.get(split.kind)
    count = len(split.folds)
    if kind is None:
        whole = f"{counted(count)} split{'' if count == 1 else 's'} into training and test"
    else:
        whole = kind.sentence(split)
    if folds is None or len(set(folds)) == count:
        return whole
    run = len(set(folds))
    return f"{counted(run)} of the {counted(count)} folds of: {whole}"


def _fold(sides: Sides, val_fraction: float, seed: int) -> Fold:
    train, val = sides.train, sides.val
    if val_fraction:
        held = held_out(train, val_fraction, seed)
        train, val = held.train, held.test
    parts = (
        tuple(sorted(subject.subject_id for group in part for subject in group))
        for part in (train, val, sides.test)
    )
    return Fold(*parts)


def _written(configs: Sequence[Config], subjects: Sequence[Subject]) -> list[SplitFile]:
    """The split files that these have; one that names other subjects is of an older cohort."""
    paths = [resolved(config).split_file for config in configs]
    files = [read_file(path) for path in paths if path.is_file()]
    return [file for file in files if is_of(file, subjects)]


def _drawn(
    expected: SplitFile,
    own: Sequence[Subject],
    external: Sequence[Subject],
    config: Config,
    joined: tuple[duplicates.Pair, ...],
) -> SplitFile:
    folds = draw(own, config, external, joined)
    return replace(expected, folds=folds, near_duplicates=_pairs(config), joined=joined)


def _pairs(config: Config) -> tuple[duplicates.Pair, ...]:
    """Suspicious pairs of the cohort and of the external one, where there is one."""
    return _pairs_between(config.cache, config.external_cache) if config.external_cache else ()


def _to_join(
    pairs: Sequence[duplicates.Pair], own: Sequence[Subject], config: Config
) -> tuple[duplicates.Pair, ...]:
    """The pairs that the split keeps on one side: all of the cohort's, unless told otherwise."""
    if config.split.near_duplicates == "apart":
        return ()
    known = {subject.subject_id for subject in own}
    found = {
        (pair.subject_a, pair.subject_b): pair
        for pair in pairs
        if {pair.subject_a, pair.subject_b} <= known
    }
    return tuple(found.values())


@functools.cache
def _pairs_between(cache: Path, external: Path) -> tuple[duplicates.Pair, ...]:
    """Suspicious pairs of two cohorts; kept, since a submission checks before it writes."""
    ours, theirs = read_index(cache), read_index(external)
    return duplicates.between(Volumes(cache, [*ours, *theirs]), ours, theirs)


def _read(expected: SplitFile) -> SplitFile:
    """The file at `expected.path`, which must have been drawn with these very settings."""
    found = read_file(expected.path)
    if found.cohort_sha256 != expected.cohort_sha256:
        raise UserError(
            f"{found.path} was drawn for another cohort: subjects, classes or voxels have changed "
            "since. Restore the cache, choose another split.seed, or delete the file and its "
            "sweeps' runs"
        )
    if differing := found.differences(expected):
        raise UserError(
            f"{found.path} was drawn with other settings: {'; '.join(differing)}. Choose another "
            "split.seed, or delete the file and its sweeps' runs"
        )
    return found


def _check_classes(
    own: Sequence[Subject], external: Sequence[Subject], classes: Sequence[str], config: Config
) -> None:
    file, label = config.cache / "index.csv", config.data.label
    found = {subject.label for subject in own}
    if unknown := sorted(found - set(classes)):
        raise ConfigError(
            f"{file}: column {label!r} holds the unknown class {', '.join(unknown)}; "
            f"data.classes lists {', '.join(classes)}"
        )
    if absent := sorted(set(classes) - found):
        raise ConfigError(
            f"{file}: no subject of the class {', '.join(absent)} in data.classes; it has "
            f"{', '.join(sorted(found))}"
        )
    if len(found) < 2:
        raise ConfigError(f"{file}: column {label!r} holds one class only, {', '.join(found)}")
    if unknown := sorted({subject.label for subject in external} - found):
        raise ConfigError(
            f"the external cohort {config.data.external} holds the class {', '.join(unknown)} in "
            f"column {label!r}, which {file} does not: no network could learn it; leave those "
            "scans out, or name its classes alike"
        )
