"""The split of a study: read from its file or drawn, and checked either way."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stfmri.study import chains, duplicates
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.shards import Volumes, read_index
from stfmri.study.splits.checks import guard, refuse_degenerate, refuse_divided
from stfmri.study.splits.drawing import draw
from stfmri.study.splits.facts import Facts, facts
from stfmri.study.splits.file import SplitFile, require_unchanged
from stfmri.study.splits.file import read as read_file
from stfmri.study.splits.file import write as write_file
from stfmri.study.splits.fraction import reduced
from stfmri.study.splits.groups import cohort_sha256, subjects_in
from stfmri.study.splits.inner import inner_file
from stfmri.study.splits.record import Fold, Subject
from stfmri.study.splits.registry import SPLITS, notes_of, resolved
from stfmri.study.splits.rows import rows_of
from stfmri.study.splits.together import is_of, linked, require_same_folds, require_same_subjects

if TYPE_CHECKING:
    # At run time it is the configuration that imports the kinds.
    from stfmri.study.config import Config
    from stfmri.study.config.split import SplitConfig

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
