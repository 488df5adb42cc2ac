"""`kfold`: stratified k-fold cross-validation, repeated where asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stfmri.study.splits.groups import group_subjects
from stfmri.study.splits.record import Described, Request, Sides, SplitKind, Subject
from stfmri.study.splits.stratify import Need, derived, folded, require

if TYPE_CHECKING:
    from stfmri.study.config import Config
    from stfmri.study.config.split import SplitConfig


def _draw(request: Request) -> Sequence[Sides]:
    """The folds of the first repetition, then those of the second, and so on."""
    split, classes = request.split, frozenset(request.classes)
    groups = group_subjects(request.subjects, request.pairs)
    require(groups, request.classes, split.n, f"a kfold split with split.n={split.n}")
    need = Need(classes, classes)
    seeds = [split.seed, *(derived(split.seed, number) for number in range(1, split.repeats))]
    return [sides for seed in seeds for sides in folded(groups, split.n, seed, need)]


def _folds(split: SplitConfig) -> int:
    return split.n * split.repeats


def _tag(config: Config) -> str:
    split = config.split
    return f"-{split.n}" if split.repeats == 1 else f"-{split.n}x{split.repeats}"


def _settings(config: Config, _: Sequence[Subject]) -> Mapping[str, object]:
    return {"test_fraction": None, "repeats": config.split.repeats}


def _sentence(split: Described) -> str:
    repeats = split.settings.get("repeats", 1)
    repeats = repeats if isinstance(repeats, int) else 1
    again = f" repeated {repeats} times" if repeats > 1 else ""
    return f"stratified {len(split.folds) // repeats}-fold cross-validation{again}"


KFOLD = SplitKind(
    name="kfold",
    summary="stratified k-fold cross-validation, repeated split.repeats times",
    draw=_draw,
    sentence=_sentence,
    remedy="add scans, leave the class out, or choose another split.seed",
    least_n=2,
    keys=("repeats",),
    folds=_folds,
    tag=_tag,
    settings=_settings,
    is_drawn=True,
)
