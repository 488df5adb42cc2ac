"""Stratified draws of whole groups, and what is tried where the first one lacks a class."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stfmri.study.errors import UserError
from stfmri.study.splits.groups import classes_of, majority, rarest
from stfmri.study.splits.record import Group, Sides

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Further draws where one lacks a class. Of a class in two groups 0.42 of the draws at 0.3 have one
# on each side: with three such classes, one of a hundred draws is missed in 2 of 10,000 cohorts.
TRIES = 100


@dataclass(frozen=True)
class Need:
    """Which classes each side must hold, for a draw to be of use."""

    train: frozenset[str]
    test: frozenset[str] = frozenset()

    def met_by(self, sides: Sides) -> bool:
        """Whether no class is missing."""
        return self.train <= classes_of(sides.train) and self.test <= classes_of(sides.test)


def too_small(groups: Sequence[Group], error: object) -> UserError:
    """The error for a cohort that cannot be divided as asked."""
    return UserError(
        f"the cohort ({len(groups)} independent patients) is too small to split as asked: "
        f"{error}; change split.test_fraction, split.val_fraction or split.n"
    )


def require(groups: Sequence[Group], classes: Sequence[str], least: int, what: str) -> None:
    """Refuse a cohort with fewer than `least` independent patients of some class.

    Args:
        what: needs them, in words.

    Raises:
        UserError: naming the class.
    """
    joined = max((len({s.patient_id for s in group}) for group in groups), default=0) > 1
    hint = ", or keep scans that are almost the same apart (split.near_duplicates=apart)"
    for name in classes:
        count = sum(any(s.label == name for s in group) for group in groups)
        if count < least:
            patients = "patient" if count == 1 else "patients"
            raise UserError(
                f"class {name!r} has {count} independent {patients}; {what} needs at least "
                f"{least}: add scans, leave the class out{hint if joined else ''}"
            )


def shuffled(
    groups: Sequence[Group], n: int, fraction: float, seed: int, need: Need
) -> list[Sides]:
    """`n` stratified draws that put `fraction` of the groups to the test side.

    A draw that meets no need is made again, from a seed derived of `seed`.

    Raises:
        UserError: where no draw meets it.
    """
    # Drawing happens once for a study; reading, on every submission, should not wait for this.
    from sklearn.model_selection import StratifiedShuffleSplit

    found: list[Sides | None] = [None] * n
    reason: object = ""
    try:
        drawn = StratifiedShuffleSplit(n, test_size=fraction, random_state=seed)
        found = list(_sides(groups, drawn.split(groups_index(groups), majority(groups))))
    except ValueError as error:  # scikit-learn's own sentence says which part is too small
        reason = error
    return [
        sides
        if sides is not None and need.met_by(sides)
        else _shuffled_again(groups, fraction, (seed, number), need, reason)
        for number, sides in enumerate(found)
    ]


def _shuffled_again(
    groups: Sequence[Group],
    fraction: float,
    seed: tuple[int, int],
    need: Need,
    reason: object,
) -> Sides:
    from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

    strata = rarest(groups)
    for attempt in range(TRIES):
        # Strata that are too small for the fraction leave the draw without them.
        splitter = (StratifiedShuffleSplit, ShuffleSplit)[attempt % 2]
        drawn = splitter(1, test_size=fraction, random_state=derived(*seed, attempt))
        try:
            [sides] = _sides(groups, drawn.split(groups_index(groups), strata))
        except ValueError as error:
            reason = reason or error
            continue
        if need.met_by(sides):
            return sides
    raise too_small(groups, reason or f"no draw of {TRIES} has every class on both sides")


def folded(groups: Sequence[Group], n: int, seed: int, need: Need) -> list[Sides]:
    """Stratified `n`-fold: every group is tested exactly once.

    Raises:
        UserError: where no way is found that meets the need in every fold.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    subjects = [subject for group in groups for subject in group]
    number_of = [number for number, group in enumerate(groups) for _ in group]
    labels = [subject.label for subject in subjects]
    numbers = _array(number_of)
    strata = rarest(groups)

    def attempts() -> Iterator[list[Sides]]:
        plain = StratifiedKFold(n, shuffle=True, random_state=seed)
        yield list(_sides(groups, plain.split(groups_index(groups), majority(groups))))
        for attempt in range(TRIES):
            again = derived(seed, attempt)
            if attempt % 2:
                spread = StratifiedKFold(n, shuffle=True, random_state=again)
                yield list(_sides(groups, spread.split(groups_index(groups), strata)))
            else:
                # It weighs every scan of a group, not the most frequent class alone.
                whole = StratifiedGroupKFold(n, shuffle=True, random_state=again)
                drawn = whole.split(labels, labels, number_of)
                unique = ((_unique(numbers[a]), _unique(numbers[b])) for a, b in drawn)
                yield list(_sides(groups, unique))

    try:
        with warnings.catch_warnings():
            # scikit-learn warns of a stratum with fewer members than folds; `need` is what counts.
            warnings.simplefilter("ignore", UserWarning)
            for sides in attempts():
                if all(map(need.met_by, sides)):
                    return sides
    except ValueError as error:
        raise too_small(groups, error) from error
    raise too_small(groups, f"no way of {TRIES} has every class in all {n} test parts")


def held_out(groups: Sequence[Group], fraction: float, seed: int) -> Sides:
    """Take `fraction` of the training groups as a validation part, which is the `test` side.

    Raises:
        UserError: where it would leave a class without a training group.
    """
    [sides] = shuffled(groups, 1, fraction, seed, Need(frozenset(classes_of(groups))))
    return sides


def derived(*seeds: int) -> int:
    """A seed of its own for each combination of `seeds`."""
    import numpy as np

    return int(np.random.SeedSequence(seeds).generate_state(1)[0])


def groups_index(groups: Sequence[Group]) -> NDArray[np.intp]:
    """0 … number of groups - 1: what scikit-learn takes for the samples."""
    return _array(range(len(groups)))


def _array(numbers: Sequence[int]) -> NDArray[np.intp]:
    import numpy as np

    return np.array(numbers, dtype=np.intp)


def _unique(numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    import numpy as np

    return np.unique(numbers)


def _sides(
    groups: Sequence[Group], drawn: Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]
) -> Iterator[Sides]:
    for train, test in drawn:
        yield Sides([groups[number] for number in train], [groups[number] for number in test])
