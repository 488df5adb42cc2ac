"""How long each network will train, known before it starts: epochs, their steps and subjects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stfmri.study import lengths, selection, splits
from stfmri.study.compose import parse_overrides
from stfmri.study.config import Config
from stfmri.study.config.training import TrainConfig
from stfmri.study.errors import UserError
from stfmri.study.overrides import replaced
from stfmri.study.runs import Run, Sweep
from stfmri.study.splits import SplitFile
from stfmri.study.splits.inner import inner_file
from stfmri.study.words import ranged


@dataclass(frozen=True)
class Length:
    """The training of one run, where one process trains it.

    Attributes:
        epochs: where none stops it early.
        steps: of an epoch.
        subjects: of an epoch.
        train: the settings that these follow from.
    """

    epochs: int
    steps: int
    subjects: int
    train: TrainConfig

    @property
    def is_lengthened(self) -> bool:
        """Whether `train.steps` asks for more epochs than `train.epochs` does."""
        return self.epochs > self.train.epochs


def possible_lengths(sweep: Sweep, runs: Iterable[Run]) -> dict[str, list[Length]]:
    """The length of each network's run by the run's name; of none whose split is not to be had.

    There are several where the run has still to choose among candidates that differ in it.
    """
    found: dict[str, list[Length]] = {}
    known: dict[tuple[str, str], tuple[list[TrainConfig], list[int]]] = {}
    for run in runs:
        if run.baseline:
            continue
        # Runs of a variant differ in fold, seed and choice alone.
        variant = (run.variant, run.candidate)
        if variant not in known:
            config = sweep.config_of(run)
            known[variant] = _settings(config, sweep, run), _training_subjects(config, sweep)
        settings, subjects = known[variant]
        if run.fold >= len(subjects):
            continue
        several = [_length(train, subjects[run.fold]) for train in settings]
        alike = {(length.epochs, length.steps): length for length in several}
        if len(alike) > 1 and (train := _chosen(run)):
            found[run.name] = [_length(train, subjects[run.fold])]
        else:
            found[run.name] = list(alike.values())
    return found


def lengths_of(sweep: Sweep, runs: Iterable[Run]) -> dict[str, Length]:
    """As `possible_lengths`, without the runs that have several."""
    found = possible_lengths(sweep, runs)
    return {name: lengths[0] for name, lengths in found.items() if len(lengths) == 1}


def epochs_by_name(sweep: Sweep, runs: Iterable[Run]) -> dict[str, int]:
    """The epochs of each network's run by the run's name, where they are settled."""
    return {name: length.epochs for name, length in lengths_of(sweep, runs).items()}


def in_words(several: Sequence[Length]) -> list[str]:
    """How long the networks train, and which setting decides it; nothing where nobody can tell."""
    if not several:
        return []
    text = f"each network trains {_epochs_and_steps(several)}"
    if settings := [length.train for length in several if length.is_lengthened]:
        text += (
            f": train.steps={_each(train.steps for train in settings)} asks for more than "
            f"train.epochs={_each(train.epochs for train in settings)} does"
        )
    return [text]


def without_effect(sweep: Sweep, possible: Iterable[Sequence[Length]]) -> list[str]:
    """That `train.epochs`, as the user set it, changes nothing, and what to set; else nothing.

    Args:
        possible: of each network's run, as `possible_lengths` has them.
    """
    typed = {item.key for item in parse_overrides(sweep.typed)}
    settled = [lengths[0] for lengths in possible if len(lengths) == 1]
    idle = [length for length in settled if length.is_lengthened]
    if not idle or "train.epochs" not in {*typed, *sweep.config.sweep.axes}:
        return []
    asked = " and ".join(str(n) for n in sorted({length.train.epochs for length in idle}))
    steps = _each(length.train.steps for length in idle)
    return [
        f"train.epochs={asked} has no effect, since train.steps={steps} asks for "
        f"{_epochs_and_steps(idle)}; add train.steps=0 to train {asked} epochs"
    ]


def _settings(config: Config, sweep: Sweep, run: Run) -> list[TrainConfig]:
    """Those that the run may train with: its own, or those of its candidates."""
    if run.candidate or not sweep.candidates:
        return [config.train]
    return [replaced(config, one.overrides, file=one.name).train for one in sweep.candidates]


def _chosen(run: Run) -> TrainConfig | None:
    """The settings that the run has chosen; None before."""
    try:
        is_chosen = (run.folder / selection.SELECTED_FILE).is_file()
        return selection.config_of(run.folder).train if is_chosen else None
    except UserError:
        return None  # the run itself says what is wrong


def _length(train: TrainConfig, subjects: int) -> Length:
    batches = lengths.batches_of(subjects, train.batch_size)
    return Length(
        lengths.epochs_of(train, batches), lengths.steps_of(train, batches), subjects, train
    )


def _training_subjects(config: Config, sweep: Sweep) -> list[int]:
    """How many subjects train in each fold; empty where there is no split yet and none can be."""
    try:
        file, fraction = _split_of(config, sweep), config.split.train_fraction
        if fraction == 1 and not config.split.inner:
            return [len(fold.train) for fold in file.folds]
        subjects = {
            one.subject_id: one
            for one in splits.subjects_in(splits.rows_of(config), config.data.label)
        }
        if config.split.inner:
            file = inner_file(file, subjects, config.split.inner, config.split.seed)
        return [
            len(splits.reduced(file, number, subjects, fraction).train)
            for number in range(len(file.folds))
        ]
    except (UserError, OSError):
        return []  # whoever submits says what is wrong


def _split_of(config: Config, sweep: Sweep) -> SplitFile:
    """The split as it was written, or as it will be."""
    outer = splits.whole(config)
    if outer.split_file.is_file():
        return splits.read_file(outer.split_file)
    beside = [other for cache, other in sweep.by_cache.items() if cache != config.cache]
    return splits.check(outer, beside).file


def _each(values: Iterable[int]) -> str:
    """Such as `30 or 60`."""
    return " or ".join(str(value) for value in sorted(set(values)))


def _epochs_and_steps(several: Sequence[Length]) -> str:
    """Such as `38 to 40 epochs of 2 steps`."""
    epochs = ranged([length.epochs for length in several], "epoch")
    return f"{epochs} of {ranged([length.steps for length in several], 'step')}"
