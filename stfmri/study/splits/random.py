"""`random`: independent stratified draws, as in the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stfmri.study.splits.groups import group_subjects
from stfmri.study.splits.record import Described, Request, Sides, SplitKind, Subject
from stfmri.study.splits.stratify import Need, require, shuffled
from stfmri.study.words import counted, percent

if TYPE_CHECKING:
    from stfmri.study.config import Config


def _draw(request: Request) -> Sequence[Sides]:
    split, classes = request.split, frozenset(request.classes)
    groups = group_subjects(request.subjects, request.pairs)
    require(groups, request.classes, 2, f"a random split with split.n={split.n}")
    need = Need(classes, classes)
    return shuffled(groups, split.n, split.test_fraction, split.seed, need)


def _settings(config: Config, _: Sequence[Subject]) -> Mapping[str, object]:
    return {"test_fraction": config.split.test_fraction}


def _sentence(split: Described) -> str:
    count = len(split.folds)
    tested = split.settings.get("test_fraction")
    share = f", {percent(tested)} of the patients tested" if isinstance(tested, float) else ""
    return f"{counted(count)} random stratified split{'s' if count > 1 else ''}{share}"


RANDOM = SplitKind(
    name="random",
    summary="n independent stratified draws (the paper's)",
    draw=_draw,
    sentence=_sentence,
    remedy="add scans, leave the class out, or choose another split.seed",
    settings=_settings,
    is_drawn=True,
)
