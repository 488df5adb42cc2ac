"""What the methods text, the flow diagram and the checklists are written from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from stfmri.evidence.cohort import Cohort
from stfmri.evidence.methods.settings import Settings
from stfmri.study import selection
from stfmri.study.config import Config
from stfmri.study.rejected import Rejected, read_rejected
from stfmri.study.runs import Sweep
from stfmri.study.serialise import load_yaml
from stfmri.study.shards import CacheError, Volumes, missing_contrasts, read_index
from stfmri.study.splits import rows_of


@dataclass(frozen=True)
class CacheFacts:
    """What the cache says of the scans that came in.

    Attributes:
        volumes: rows of its index, used by the split or not.
        rejected: scans that gave no volume; None where that was not recorded.
        preprocessing: the chain as a shard recorded it, with automatic choices resolved; empty
            where no shard can be read.
    """

    volumes: int
    rejected: tuple[Rejected, ...] | None = ()
    chain: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """One network of the comparison, with what its runs recorded.

    Attributes:
        label: as the tables print it.
        config: complete, of any of its folds, before anything was chosen in them.
        provenances: `provenance.json` of its runs that were read.
        chosen: what its runs trained with, where each fold chose some settings.
    """

    label: str
    config: Config
    provenances: tuple[Mapping[str, Any], ...] = ()
    chosen: tuple[Config, ...] = ()


@dataclass(frozen=True)
class Study:
    """A sweep without its scores.

    Attributes:
        lacking: contrast → used scans whose channel of it is zeros; None where that was not
            recorded.
        choosing: how each fold chose settings, in a sentence; empty where none did.
    """

    config: Config
    cohort: Cohort
    cache: CacheFacts
    variants: tuple[Variant, ...]
    lacking: Mapping[str, int] | None = field(default_factory=dict)
    choosing: str = ""

    @cached_property
    def settings(self) -> Settings:
        """What its variants trained with; the sweep's configuration where there is none."""
        trained = [one for item in self.variants for one in item.chosen or (item.config,)]
        return Settings.of(trained or [self.config])

    @cached_property
    def compared(self) -> Settings:
        """The configurations of its variants, whatever each fold chose."""
        return Settings.of([variant.config for variant in self.variants] or [self.config])

    @property
    def provenances(self) -> tuple[Mapping[str, Any], ...]:
        """Of all runs of all variants."""
        return tuple(item for variant in self.variants for item in variant.provenances)


def read_study(
    sweep: Sweep,
    cohort: Cohort,
    labels: Mapping[str, str],
    provenances: Mapping[str, Sequence[Mapping[str, Any]]],
    caches: Sequence[Path] = (),
    choosing: str = "",
) -> Study:
    """Gather what a sweep and its cache recorded.

    Args:
        sweep: as submitted.
        cohort: its subjects and folds.
        labels: variant → its name in the tables, in their order; runs of other variants, such as
            baselines, are left aside.
        provenances: variant → `provenance.json` of its runs.
        caches: the folders that hold the cohort's volumes, where they are several, as of an
            external cohort; by default the sweep's own.
        choosing: how each fold chose settings, in a sentence.

    Raises:
        CacheError: where the index or `rejected.csv` is damaged.
    """
    first = {run.variant: run for run in reversed(sweep.runs)}
    variants = tuple(
        Variant(
            label,
            sweep.config_of(first[name]),
            tuple(provenances.get(name, ())),
            _chosen(sweep, name),
        )
        for name, label in labels.items()
    )
    facts, lacking = read_caches(caches or (sweep.cache,)), _lacking(sweep, cohort)
    return Study(sweep.config, cohort, facts, variants, lacking, choosing)


def _chosen(sweep: Sweep, variant: str) -> tuple[Config, ...]:
    """The configurations that a variant's runs have chosen; none where nothing is chosen."""
    return tuple(
        selection.config_of(run.folder)
        for run in sweep.runs
        if run.variant == variant and (run.folder / selection.SELECTED_FILE).is_file()
    )


def read_caches(caches: Sequence[Path]) -> CacheFacts:
    """Read what cache folders say of themselves, counts added up.

    The preprocessing is that of the first; how many scans were rejected is known where every folder
    says so.

    Raises:
        CacheError: where an index or a `rejected.csv` is missing or damaged.
    """
    indices = [read_index(cache) for cache in caches]
    rejected = [read_rejected(cache) for cache in caches]
    known = [scans for scans in rejected if scans is not None]
    first = indices[0]
    return CacheFacts(
        volumes=sum(map(len, indices)),
        rejected=sum(known, ()) if len(known) == len(rejected) else None,
        chain=_recorded_chain(Volumes(caches[0], first), first[0].subject_id),
    )


def _lacking(sweep: Sweep, cohort: Cohort) -> Mapping[str, int] | None:
    """How many used scans lack each contrast, of all caches that keep such scans."""
    used = {subject.subject_id for subject in cohort.used}
    found = set()
    for config in sweep.by_cache.values():
        if config.data.missing == "zeros":
            rows = [row for row in rows_of(config) if row.subject_id in used]
            for row in rows:
                names = missing_contrasts(row)
                if names is None:
                    return None
                found |= {(name, row.subject_id) for name in names}
    return Counter(name for name, _ in sorted(found))


def _recorded_chain(volumes: Volumes, subject_id: str) -> Mapping[str, Any]:
    """The preprocessing that a subject's volume went through.

    It is described beside the results and decides nothing: a missing shard spoils no report.
    """
    try:
        chain = load_yaml(volumes.chain(subject_id), "the chain of a shard")
    except CacheError:
        return {}
    return chain if isinstance(chain, dict) else {}
