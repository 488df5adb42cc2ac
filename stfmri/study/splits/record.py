"""What a kind of split is: a record that the configuration, files and reports iterate over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from stfmri.study.duplicates import Pair

if TYPE_CHECKING:
    from stfmri.study.config import Config
    from stfmri.study.config.split import SplitConfig


@dataclass(frozen=True)
class Subject:
    """One volume of the cache, with its class."""

    subject_id: str
    patient_id: str
    source: str
    label: str
    sha256: str
    columns: Mapping[str, str] = field(default_factory=dict)  # of the cohort table, as text


@dataclass(frozen=True)
class Fold:
    """Subject ids of one division. `val` is a part taken from training, often empty."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


# Subjects that share a patient or a volume, or almost one, and so never stand on two sides.
Group: TypeAlias = Sequence[Subject]


@dataclass(frozen=True)
class Sides:
    """One fold before validation subjects are taken from its training part."""

    train: Sequence[Group]
    test: Sequence[Group]
    val: Sequence[Group] = ()  # where the kind itself names them


@dataclass(frozen=True)
class Request:
    """What folds are drawn from.

    Attributes:
        subjects: of the cohort itself.
        external: of the cohort that is only tested; empty for most kinds.
        classes: of `subjects`.
        split: complete, as `SplitKind.resolve` returns it.
        pairs: of `subjects` that are kept on one side, beside those of one patient or volume.
    """

    subjects: Sequence[Subject]
    external: Sequence[Subject]
    classes: tuple[str, ...]
    split: SplitConfig
    pairs: Sequence[Pair] = ()


class Described(Protocol):
    """What a sentence on a split is written from: a split, or its file."""

    @property
    def kind(self) -> str:
        """Name of its kind; empty where an old file does not say."""
        ...

    @property
    def folds(self) -> tuple[Fold, ...]:
        """Every fold."""
        ...

    @property
    def settings(self) -> Mapping[str, object]:
        """What it was drawn with, as the file has it."""
        ...


def _plain_tag(config: Config) -> str:
    return f"-{config.split.n}"


def _nothing(*_: object) -> dict[str, object]:
    return {}


def _no_notes(*_: object) -> Iterable[str]:
    return ()


def _n(split: SplitConfig) -> int:
    return split.n


@dataclass(frozen=True)
class SplitKind:
    """One way to divide subjects into folds.

    Attributes:
        name: as `split.kind` and the file's name have it.
        summary: a line for help.
        draw: the folds, whole groups at a time.
        sentence: what a paper would call it, without a full stop.
        remedy: what to do where a fold has no training subject of some class.
        least_n: smallest `split.n`; 0 where the number of folds may depend on the data.
        keys: of `SplitConfig`, those that only some kinds have.
        folds: their number, of a resolved configuration.
        tag: what its file's name says after the label: all that tells it from another of its kind,
            the seed apart.
        settings: what its file records beside that; the second argument are all subjects.
        resolve: fills in what depends on the data; None where nothing does.
        notes: what a reader of the results should know of the folds.
        is_drawn: whether this program draws who is tested, so that a class that some fold does not
            test is refused, where of sources or a user's own folds it is only said.
        is_external: whether another cohort is tested.
    """

    name: str
    summary: str
    draw: Callable[[Request], Sequence[Sides]]
    sentence: Callable[[Described], str]
    remedy: str
    least_n: int = 1
    keys: tuple[str, ...] = ()
    folds: Callable[[SplitConfig], int] = _n
    tag: Callable[[Config], str] = _plain_tag
    settings: Callable[[Config, Sequence[Subject]], Mapping[str, object]] = _nothing
    resolve: Callable[[Config, Sequence[Subject]], SplitConfig] | None = None
    notes: Callable[[Sequence[Fold], Mapping[str, Subject]], Iterable[str]] = _no_notes
    is_drawn: bool = False
    is_external: bool = False
