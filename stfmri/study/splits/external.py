"""`external`: every subject of the cohort trains, the subjects of another cohort are tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from stfmri.study.errors import ConfigError, LeakageError
from stfmri.study.splits.groups import group_subjects
from stfmri.study.splits.record import Described, Request, Sides, SplitKind, Subject
from stfmri.study.words import listed

if TYPE_CHECKING:
    from stfmri.study.config import Config
    from stfmri.study.config.split import SplitConfig


def _resolve(config: Config, _: Sequence[Subject]) -> SplitConfig:
    if config.split.n not in (0, 1):
        raise ConfigError(
            f"split=external is one fold, found split.n={config.split.n}; leave split.n out"
        )
    return replace(config.split, n=1)


def _draw(request: Request) -> Sequence[Sides]:
    internal = {subject.subject_id for subject in request.subjects}
    shared = []
    for group in group_subjects([*request.subjects, *request.external]):
        ours = [s.subject_id for s in group if s.subject_id in internal]
        theirs = [s.subject_id for s in group if s.subject_id not in internal]
        if ours and theirs:
            shared.append(f"{ours[0]} and {theirs[0]}")
    if shared:
        raise LeakageError(
            "the cohort and the external one share a patient or a volume: "
            f"{listed(shared)} (of the external cohort the second); leave those scans out of one"
        )
    # Pairs join scans of the cohort itself, from which a validation part may be taken.
    groups = group_subjects(request.subjects, request.pairs)
    return [Sides(groups, group_subjects(request.external))]


def _tag(config: Config) -> str:
    return f"@{config.data.external}"


def _settings(config: Config, _: Sequence[Subject]) -> Mapping[str, object]:
    found = config.external_cache
    return {
        "external": config.data.external,
        # A folder beside the cohort's own, so that a root may be moved.
        "external_cache": found.name if found else None,
    }


def _sentence(split: Described) -> str:
    return f"external test: {split.settings.get('external')}"


EXTERNAL = SplitKind(
    name="external",
    summary="train on the whole cohort, test another one, data.external",
    draw=_draw,
    sentence=_sentence,
    remedy="leave the class out",
    least_n=0,
    tag=_tag,
    settings=_settings,
    resolve=_resolve,
    is_external=True,
)
