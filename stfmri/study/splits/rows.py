"""The volumes that a split divides, in the cohort's cache and an external one's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stfmri.study.errors import UserError
from stfmri.study.shards import IndexRow, read_index
from stfmri.study.splits.record import Fold
from stfmri.study.words import listed

if TYPE_CHECKING:
    # At run time it is the configuration that imports the kinds.
    from stfmri.study.config import Config


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
