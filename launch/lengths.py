"""How long each network will train, known before it starts: epochs, their steps and subjects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stfmri.study import lengths, splits
from stfmri.study.compose import parse_overrides
from stfmri.study.config import Config
from stfmri.study.config.training import TrainConfig
from stfmri.study.errors import UserError
from stfmri.study.runs import Run, Sweep
from stfmri.study.splits import SplitFile
from stfmri.study.splits.inner import inner_file
from stfmri.study.words import plural


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


def lengths_of(sweep: Sweep, runs: Iterable[Run]) -> dict[str, Length]:
    """The length of each network's run by the run's name; of none whose split is not to be had."""
    found: dict[str, Length] = {}
    configs: dict[tuple[str, str], Config] = {}
    folds: dict[tuple[str, str], list[int]] = {}
    for run in runs:
        if run.baseline:
            continue
        # Runs of a variant differ in fold and seed alone.
        variant = (run.variant, run.candidate)
        if variant not in configs:
            configs[variant] = config = sweep.config_of(run)
            folds[variant] = _training_subjects(config, sweep)
        if run.fold < len(folds[variant]):
            found[run.name] = _length(configs[variant].train, folds[variant][run.fold])
    return found


def epochs_by_name(sweep: Sweep, runs: Iterable[Run]) -> dict[str, int]:
    """The epochs of each network's run by the run's name."""
    return {name: length.epochs for name, length in lengths_of(sweep, runs).items()}


def in_words(sweep: Sweep, found: Mapping[str, Length]) -> list[str]:
    """How long the networks train, and which setting decides it; nothing where nobody can tell."""
    several = list(found.values())
    if not several:
        return []
    epochs, steps = (
        _range([getattr(length, name) for length in several]) for name in ("epochs", "steps")
    )
    text = f"each network trains {_counted(epochs, 'epoch')} of {_counted(steps, 'step')}"
    if any(length.is_lengthened for length in several):
        train = sweep.first.train
        text += f": train.steps={train.steps} asks for more than train.epochs={train.epochs} does"
    return [text]


def without_effect(sweep: Sweep, found: Mapping[str, Length]) -> list[str]:
    """That `train.epochs`, as the user set it, changes nothing, and what to set; else nothing."""
    typed = {item.key for item in parse_overrides(sweep.typed)}
    several = list(found.values())
    if "train.epochs" not in {*typed, *sweep.config.sweep.axes} or not several:
        return []
    idle = [length for length in several if length.is_lengthened]
    if not idle:
        return []
    asked = " and ".join(str(n) for n in sorted({length.train.epochs for length in idle}))
    steps = " or ".join(str(n) for n in sorted({length.train.steps for length in idle}))
    epochs = _counted(_range([length.epochs for length in idle]), "epoch")
    each = _counted(_range([length.steps for length in idle]), "step")
    return [
        f"train.epochs={asked} has no effect, since train.steps={steps} asks for {epochs} of "
        f"{each}; add train.steps=0 to train {asked} epochs"
    ]


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


def _range(values: Sequence[int]) -> tuple[int, int]:
    return min(values), max(values)


def _counted(ends: tuple[int, int], what: str) -> str:
    """Such as `60 epochs` or `38 to 40 epochs`."""
    low, high = ends
    return plural(high, what) if low == high else f"{low} to {plural(high, what)}"
