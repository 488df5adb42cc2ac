"""Every kind of split, and what is asked of a kind by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from stfmri.study import duplicates
from stfmri.study.shards import read_index
from stfmri.study.splits.checks import notes_on
from stfmri.study.splits.column import COLUMN
from stfmri.study.splits.external import EXTERNAL
from stfmri.study.splits.file import SplitFile
from stfmri.study.splits.groups import subjects_of
from stfmri.study.splits.kfold import KFOLD
from stfmri.study.splits.random import RANDOM
from stfmri.study.splits.record import Described, SplitKind, Subject
from stfmri.study.splits.source import SOURCE
from stfmri.study.words import counted

if TYPE_CHECKING:
    # At run time it is the configuration that imports the kinds.
    from stfmri.study.config import Config


SPLITS: Mapping[str, SplitKind] = {
    kind.name: kind for kind in (RANDOM, KFOLD, SOURCE, COLUMN, EXTERNAL)
}
# Keys of `split` that a submission fills in; empty or 0 until then.
FILLED_IN = ("n", "column", "sha256")


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
