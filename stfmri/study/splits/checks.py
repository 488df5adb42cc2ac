"""What is refused of a split, and what is said of it before anything trains."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from stfmri.study.duplicates import Pair, sentence
from stfmri.study.errors import LeakageError, UserError
from stfmri.study.splits.record import Fold, SplitKind, Subject
from stfmri.study.words import listed, percent, plural

POINTS = 0.05  # by which a class's share may differ from the cohort's, unsaid


def guard(fold: Fold, subjects: Mapping[str, Subject], where: str) -> None:
    """Refuse a fold that has a subject, a patient or an identical volume on two sides.

    Raises:
        LeakageError: naming what is shared.
        UserError: where it names somebody else, or nobody.
    """
    sides = {"train": fold.train, "val": fold.val, "test": fold.test}
    named = [name for ids in sides.values() for name in ids]
    if strangers := sorted(set(named) - set(subjects)):
        raise UserError(
            f"{where}: the cohort has no {', '.join(strangers[:5])}; delete the file to draw it "
            "anew"
        )
    if not fold.train or not fold.test:
        raise UserError(f"{where}: nobody to train or to test on; delete the file to draw it anew")
    for what in ("subject_id", "patient_id", "sha256"):
        seen: dict[str, tuple[str, str]] = {}
        shared = []
        for side, ids in sides.items():
            for subject_id in ids:
                value = getattr(subjects[subject_id], what)
                other = seen.setdefault(value, (side, subject_id))
                if other[0] != side:
                    shared.append(f"{other[1]} ({other[0]}) and {subject_id} ({side})")
        if shared:
            name = {"subject_id": "subject", "patient_id": "patient", "sha256": "volume"}[what]
            more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
            raise LeakageError(
                f"{where}: the same {name} stands on both sides: {', '.join(shared[:5])}{more}; "
                "nothing is trained on such a split: delete the file to draw it anew"
            )


def refuse_divided(folds: Sequence[Fold], pairs: Sequence[Pair], where: str) -> None:
    """Refuse folds that have two scans of a pair on two sides.

    Args:
        pairs: that are to be kept on one side.
        where: the folds stand, for the message.

    Raises:
        LeakageError: naming the pairs.
    """
    if divided := _divided(folds, pairs):
        raise LeakageError(
            f"{where}: almost the same scans stand on two sides: {listed(divided)}. The file was "
            "edited, or made before they were found: delete it to draw it again, or, if the scans "
            "are of different people, choose split.near_duplicates=apart"
        )


def refuse_degenerate(
    folds: Sequence[Fold],
    subjects: Mapping[str, Subject],
    classes: Sequence[str],
    kind: SplitKind,
    where: str,
) -> None:
    """Refuse folds from which a class cannot be learned, or tested where it should be.

    Args:
        where: the folds stand, for the message.

    Raises:
        UserError: naming the fold and the class.
    """
    for number, fold in enumerate(folds):
        if lacking := _lacking(fold.train, subjects, classes):
            raise UserError(
                f"{where}: fold {number} has no training subject of the class "
                f"{listed(lacking)}, so no network could learn it; {kind.remedy}"
            )
        if kind.is_drawn and (lacking := _lacking(fold.test, subjects, classes)):
            raise UserError(
                f"{where}: fold {number} tests no subject of the class {listed(lacking)}; "
                f"{kind.remedy}"
            )


def notes_on(
    folds: Sequence[Fold],
    subjects: Mapping[str, Subject],
    classes: Sequence[str],
    kind: SplitKind,
    pairs: Sequence[Pair] = (),
    joined: Sequence[Pair] = (),
) -> Iterator[str]:
    """What a reader of the results should know of the folds, a sentence each.

    Args:
        pairs: suspicious ones, of which some may stand on two sides.
        joined: those that the draw kept on one side.
    """
    yield from _untested(folds, subjects, classes)
    if kind.is_drawn:
        yield from _uneven(folds, subjects, classes)
    yield from kind.notes(folds, subjects)
    yield from _near_duplicates(folds, pairs)
    yield from _joined(joined)


def _lacking(
    ids: Sequence[str], subjects: Mapping[str, Subject], classes: Sequence[str]
) -> list[str]:
    held = {subjects[name].label for name in ids}
    return [name for name in classes if name not in held]


def _untested(
    folds: Sequence[Fold], subjects: Mapping[str, Subject], classes: Sequence[str]
) -> Iterator[str]:
    without: dict[str, list[int]] = defaultdict(list)
    for number, fold in enumerate(folds):
        for name in _lacking(fold.test, subjects, classes):
            without[name].append(number)
    for name, numbers in without.items():
        if len(numbers) == len(folds):
            yield f"the class {name} is never tested: no score of it can be given"
        else:
            yield f"the class {name} is not tested in {_folds(numbers)}"


def _uneven(
    folds: Sequence[Fold], subjects: Mapping[str, Subject], classes: Sequence[str]
) -> Iterator[str]:
    labels = Counter(subject.label for subject in subjects.values())
    found: dict[tuple[float, str], list[int]] = defaultdict(list)
    for number, fold in enumerate(folds):
        for side, ids in (("training", fold.train), ("test", fold.test)):
            counts = Counter(subjects[name].label for name in ids)
            for name in classes:
                share, usual = counts[name] / len(ids), labels[name] / len(subjects)
                if abs(share - usual) > POINTS:
                    of_cohort = f"{name} ({percent(usual)} of the cohort) is "
                    text = f"{of_cohort}{percent(share)} of the {side} part of"
                    found[-abs(share - usual), text].append(number)
    if found:
        largest = [f"{text} {_folds(numbers)}" for (_, text), numbers in sorted(found.items())]
        yield (
            "class shares differ from the cohort's by more than five points: "
            f"{listed(largest, most=2)}"
        )


def _folds(numbers: Sequence[int]) -> str:
    """Such as `fold 3` or `folds 1, 2 and 7`."""
    return f"fold{'' if len(numbers) == 1 else 's'} {listed(numbers)}"


def _near_duplicates(folds: Sequence[Fold], pairs: Sequence[Pair]) -> Iterator[str]:
    if found := _divided(folds, pairs):
        yield (
            "perhaps the same scan on two sides: "
            f"{listed(found)}; if it is, give both one patient_id and preprocess again"
        )


def _joined(pairs: Sequence[Pair]) -> Iterator[str]:
    if pairs:
        named = listed([sentence(pair) for pair in pairs], most=3)
        yield (
            f"{plural(len(pairs), 'pair')} of almost the same scans, of different patients by the "
            f"cohort's own account, kept on one side: {named}"
        )


def _divided(folds: Sequence[Fold], pairs: Sequence[Pair]) -> list[str]:
    """The pairs with their scans on two sides of some fold, in words."""
    side_of = [
        {name: side for side in ("train", "val", "test") for name in getattr(fold, side)}
        for fold in folds
    ]
    found = []
    for pair in pairs:
        numbers = [
            number
            for number, sides in enumerate(side_of)
            if {pair.subject_a, pair.subject_b} <= set(sides)
            and sides[pair.subject_a] != sides[pair.subject_b]
        ]
        if numbers:
            found.append(
                f"{pair.subject_a} and {pair.subject_b} (correlation {pair.correlation:.3f}, "
                f"{_folds(numbers)})"
            )
    return found
