"""Whether the volumes of a sweep are there, and are those of the cohort's table."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from preprocessing.cohorts import Scan, find_scans, layout_of
from preprocessing.command import preprocessing_command
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.rejected import read_rejected
from stfmri.study.shards import IndexRow, read_index
from stfmri.study.words import listed as listed_words
from stfmri.study.words import plural


def require_current(config: Config, choice: str) -> None:
    """Refuse a configuration whose volumes are not there, or are not those of its table.

    Args:
        choice: of conf/sweep, that it comes from.

    Raises:
        UserError: naming the command that builds them.
    """
    if not (config.cache / "index.csv").is_file():
        _check_cohort(config.data)
    require_built(config, choice)
    check_table(config, choice)


def _check_cohort(data: DataConfig) -> None:
    """Refuse a table or `data.classes` that preprocessing would refuse, before it is called for.

    Raises:
        UserError: naming the classes, or what is wrong with the table.
    """
    if not layout_of(data).is_named_in(data) or not (data.classes or data.table):
        return
    try:
        find_scans(data)
    except ConfigError:
        raise
    except UserError:
        if data.table is not None and Path(data.table).is_file():
            raise
        # Of scans that are not there, preprocessing, which comes next, says what is wrong.


def require_built(config: Config, choice: str) -> None:
    """Refuse a configuration whose cache, or whose external cohort's, is not built yet.

    Args:
        choice: of conf/sweep, that it comes from.

    Raises:
        UserError: naming the command that builds it.
    """
    needed = [(config.cache, replace(config, data=replace(config.data, external=None)))]
    if config.external_cache is not None:
        # Where its scans are is not known here: the command says what to fill in.
        data = DataConfig(name=str(config.data.external), label=config.data.label)
        needed.append((config.external_cache, replace(config, data=data)))
    for cache, wanted in needed:
        if not (cache / "index.csv").is_file():
            raise UserError(
                f"no preprocessed volumes at {cache}; build them: "
                f"{preprocessing_command(wanted, choice)}"
            )


def check_table(config: Config, choice: str = "") -> None:
    """Refuse a cache that was built from another table than `data.table`, where that is given.

    The same goes for `data.exclude`, and for what the table says of a subject.

    Args:
        choice: of conf/sweep, that the configuration comes from.

    Raises:
        UserError: naming the command that brings the cache up to date.
    """
    data, cache, build = config.data, config.cache, partial(preprocessing_command, config, choice)
    is_named = layout_of(data).is_named_in(data)
    if not is_named or (data.table is None and data.exclude is None):
        return
    listed = {scan.subject_id: scan for scan in find_scans(data) if not scan.excluded}
    without_volume = read_rejected(cache) or ()
    refused = {scan.subject_id for scan in without_volume if not scan.left_out}
    built = {row.subject_id: row for row in read_index(cache)}
    left_out = {scan.subject_id for scan in without_volume if scan.left_out} & listed.keys()
    if left_out and data.exclude is None:
        raise UserError(
            f"{plural(len(left_out), 'subject')} of {data.table} left out when {cache} was built "
            f"({', '.join(sorted(left_out)[:3])}): say data.exclude=FILE here, too, or write it "
            "into the sweep's file (exclude: FILE, under data); to take them back, "
            f"{build()}"
        )
    table = data.table or data.exclude
    for subjects, here, there in (
        (listed.keys() - built.keys() - refused, table, cache),
        (built.keys() - listed.keys(), cache, table),
    ):
        if subjects:
            some = ", ".join(sorted(subjects)[:3])
            raise UserError(
                f"{plural(len(subjects), 'subject')} in {here} and not in {there} ({some}): the "
                f"volumes are of another table; build them, {build()}, or "
                "give this cohort a data.name of its own"
            )
    changed = [
        f"{field} of {subject} is {ours} there, {theirs} in {cache}"
        for subject, row in built.items()
        for field, ours, theirs in _said_of(listed[subject], row, data.label)
        if ours != theirs
    ]
    if changed:
        raise UserError(
            f"{table} has changed since the volumes were indexed: {listed_words(changed)}; "
            f"{build()} brings the index up to date, and builds no volume "
            "again that is there"
        )


def _said_of(scan: Scan, row: IndexRow, label: str) -> tuple[tuple[str, str, str | None], ...]:
    """What decides folds and scores, by its name: as the table has it, and as the index does."""
    return (
        (label, scan.columns.get(label, ""), row.columns.get(label, "")),
        ("patient_id", scan.patient_id, row.patient_id),
        ("source", scan.source, row.source),
    )
