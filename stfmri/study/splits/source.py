"""`source`: leave one source out, or one of `split.groups` groups of sources.

Scanner, site and protocol differ between sources, so the score says how a network does where it
has never seen a scan. A patient who was scanned in the tested source trains in none of its folds,
not even with scans of another source: those are left out of that fold.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from stfmri.study.errors import ConfigError, UserError
from stfmri.study.splits.groups import group_subjects
from stfmri.study.splits.record import Described, Fold, Request, Sides, SplitKind, Subject
from stfmri.study.words import listed, plural

if TYPE_CHECKING:
    from stfmri.study.config import Config
    from stfmri.study.config.split import SplitConfig

LEAST_SCANS = 5  # of a source that is left out by itself; the scans of a smaller one always train


def large_enough(subjects: Sequence[Subject]) -> list[str]:
    """The sources that are left out by themselves, sorted."""
    scans = Counter(subject.source for subject in subjects)
    return sorted(source for source, count in scans.items() if count >= LEAST_SCANS)


def _resolve(config: Config, subjects: Sequence[Subject]) -> SplitConfig:
    split = config.split
    sources = {subject.source for subject in subjects}
    if split.groups:
        count, of = split.groups, f"split.groups={split.groups}"
        if not 2 <= count <= len(sources):
            raise ConfigError(
                f"split.groups must be 2 or more and at most the number of sources, found {count}; "
                f"{config.cache / 'index.csv'} has {plural(len(sources), 'source')}"
            )
    else:
        count = len(large_enough(subjects))
        of = f"{plural(count, 'source')} with {LEAST_SCANS} scans or more"
        if not count or len(sources) < 2:
            raise UserError(
                f"split=source needs two sources, and one with {LEAST_SCANS} scans or more; "
                f"{config.cache / 'index.csv'} has {plural(len(sources), 'source')} "
                f"({listed(sorted(sources))}): fill in the table's column source, or use another "
                "split"
            )
    if split.n not in (0, count):
        raise ConfigError(
            f"split.n={split.n}, but {of} in {config.cache / 'index.csv'} make {count} folds; "
            "leave split.n out"
        )
    return replace(split, n=count)


def _draw(request: Request) -> Sequence[Sides]:
    groups = group_subjects(request.subjects, request.pairs)
    found = []
    for tested in _tested_together(request):
        train = [g for g in groups if not any(s.source in tested for s in g)]
        test = [[s for s in g if s.source in tested] for g in groups]
        found.append(Sides(train, [group for group in test if group]))
    return found


def _tested_together(request: Request) -> list[set[str]]:
    """The sources of each fold's test part."""
    split, subjects = request.split, sorted(request.subjects, key=lambda s: s.subject_id)
    if not split.groups:
        return [{source} for source in large_enough(subjects)]
    # Whole sources, dealt out so that classes and sizes differ least between the groups.
    from sklearn.model_selection import StratifiedGroupKFold

    labels = [subject.label for subject in subjects]
    sources = [subject.source for subject in subjects]
    dealer = StratifiedGroupKFold(split.groups, shuffle=True, random_state=split.seed)
    try:
        with warnings.catch_warnings():
            # scikit-learn warns of a class with fewer scans than groups; checks.py says it better.
            warnings.simplefilter("ignore", UserWarning)
            dealt = [
                {sources[n] for n in test} for _, test in dealer.split(labels, labels, sources)
            ]
    except ValueError as error:
        raise UserError(
            f"the sources cannot be dealt out to split.groups={split.groups} groups: {error}; "
            "choose fewer"
        ) from error
    if not all(dealt):
        raise UserError(
            f"one of split.groups={split.groups} groups of sources would be empty: the sources "
            "differ too much in size; choose fewer groups"
        )
    return dealt


def _tag(config: Config) -> str:
    split = config.split
    return f"-{split.n}groups" if split.groups else f"-{split.n}"


def _settings(config: Config, _: Sequence[Subject]) -> Mapping[str, object]:
    return {"groups": config.split.groups}


def _notes(folds: Sequence[Fold], subjects: Mapping[str, Subject]) -> Iterator[str]:
    tested = {subjects[name].source for fold in folds for name in fold.test}
    scans = Counter(subject.source for subject in subjects.values())
    small = [f"{source} ({scans[source]})" for source in sorted(set(scans) - tested)]
    if small:
        yield (
            f"never tested, but trained on in every fold: sources with fewer than {LEAST_SCANS} "
            f"scans, {listed(small)}"
        )
    left_out: dict[int, int] = defaultdict(int)
    for number, fold in enumerate(folds):
        left_out[number] = len(subjects) - len(fold.train) - len(fold.val) - len(fold.test)
    if any(left_out.values()):
        counts = [f"{count} in fold {number}" for number, count in left_out.items() if count]
        yield (
            "left out of a fold, since their patient or (almost) the same volume is also in the "
            f"tested source: {listed(counts)}"
        )


def _sentence(split: Described) -> str:
    count = len(split.folds)
    if split.settings.get("groups"):
        return f"leave-one-group-of-sources-out over {count} groups of sources"
    if count == 1:
        return "one source left out for testing"
    return f"leave-one-source-out over {count} sources"


SOURCE = SplitKind(
    name="source",
    summary="leave one source out, or one of split.groups groups of sources",
    draw=_draw,
    sentence=_sentence,
    remedy="each class must come from sources of two folds or more: try split.groups, or another "
    "split",
    least_n=0,
    keys=("groups",),
    tag=_tag,
    settings=_settings,
    resolve=_resolve,
    notes=_notes,
)
