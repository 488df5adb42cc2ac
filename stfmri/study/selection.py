"""What a fold chose among the candidates of `sweep.select`, and by what.

<run>/select/<candidate>/    an inner run: trained on a part of the run's training subjects; its
                             predictions are of the rest of them, and `diverged.txt` is there
                             instead where its loss stopped being a number
<run>/selection.json         the validation loss of every candidate, and which one was chosen
<run>/selected.yaml          the configuration with the chosen values, which the run trains with

`selection.json` is written once, before anything is trained on all of the fold's training subjects.
The validation loss is the mean of `W_y · CE` over the judging subjects, W_c = 1 - n_c / N with
counts of the inner run's training subjects (equation 1 of the paper); of equal ones the first
listed is chosen.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stfmri.study import config as configuration
from stfmri.study import predictions, splits
from stfmri.study.candidates import candidate_name, grid
from stfmri.study.config import Config
from stfmri.study.errors import ConfigError, TrainingError, UserError
from stfmri.study.files import private_dir, read_text, sha256_of, write_atomic
from stfmri.study.naming import CHECKPOINTS, CONFIG_FILE, MODEL_FILE
from stfmri.study.predictions import PredictionTable

FOLDER = "select"
FILE_NAME = "selection.json"
SELECTED_FILE = "selected.yaml"
DIVERGED_FILE = "diverged.txt"
LEAST_PROBABILITY = 1e-12  # predictions.csv prints 9 digits, so that a tiny one reads as 0


@dataclass(frozen=True)
class Judged:
    """A candidate, and how it did on the judging subjects.

    Attributes:
        validation_loss: None where its training diverged.
        predictions_sha256: of its predictions.csv; empty where there are none.
    """

    name: str
    values: dict[str, Any]
    validation_loss: float | None
    predictions_sha256: str = ""


@dataclass(frozen=True)
class Selection:
    """The choice of one fold.

    Attributes:
        trained: number of subjects that candidates were trained on.
        judged: number of training subjects that judged them.
        split: name of the file with the inner division, and `split_sha256` its hash.
        chosen: name of a candidate.
    """

    fold: int
    fraction: float
    trained: int
    judged: int
    split: str
    split_sha256: str
    candidates: tuple[Judged, ...]
    chosen: str

    @property
    def winner(self) -> Judged:
        """The candidate that was chosen."""
        return next(one for one in self.candidates if one.name == self.chosen)


def inner_folder(run: Path, candidate: str) -> Path:
    """Where the inner run of a candidate lies."""
    return run / FOLDER / candidate


def inner_config_files(run: Path, config: Config) -> list[Path]:
    """The frozen configurations of a run's inner runs, in the order listed.

    Raises:
        UserError: where one is missing.
    """
    files = [
        inner_folder(run, candidate_name(values)) / CONFIG_FILE
        for values in grid(config.sweep.select)
    ]
    for file in files:
        if not file.is_file():
            raise UserError(
                f"no configuration of a candidate at {file}; submitting the sweep writes it"
            )
    return files


def is_judged(inner_run: Path, fold: int) -> bool:
    """Whether an inner run has come to its end: with predictions, or by diverging."""
    return (inner_run / DIVERGED_FILE).is_file() or predictions.is_done(inner_run, fold)


def record_divergence(inner_run: Path, error: Exception) -> None:
    """End an inner run whose loss stopped being a number."""
    write_atomic(private_dir(inner_run) / DIVERGED_FILE, f"{error}\n")


def judge(run: Path, config: Config) -> Selection:
    """Choose among inner runs that have all come to their end.

    Args:
        run: the folder of the run that chooses.
        config: its own, frozen.

    Raises:
        UserError: where an inner run's predictions are broken, or not those of its judging part.
        TrainingError: where every candidate diverged.
    """
    files = inner_config_files(run, config)
    of_first = configuration.load(files[0])
    split = splits.ensure(of_first)
    fold = split.folds[config.split.fold]
    labels = [split.subjects[name].label for name in fold.train]
    judging = {name: split.subjects[name].label for name in fold.test}
    weights = class_weights(labels, split.classes)
    candidates = []
    for file, values in zip(files, grid(config.sweep.select), strict=True):
        folder, name = file.parent, candidate_name(values)
        if (folder / DIVERGED_FILE).is_file():
            candidates.append(Judged(name, values, None))
            continue
        table = predictions.read(folder / predictions.FILE_NAME)
        predictions.validate(table, split.classes, config.split.fold, judging)
        loss = validation_loss(table, judging, weights)
        candidates.append(Judged(name, values, loss, sha256_of(table.path)))
    return Selection(
        fold=config.split.fold,
        fraction=of_first.split.inner,
        trained=len(fold.train),
        judged=len(fold.test),
        split=split.path.name,
        split_sha256=split.sha256,
        candidates=tuple(candidates),
        chosen=best(candidates, run).name,
    )


def best(candidates: Sequence[Judged], run: Path) -> Judged:
    """The candidate of least validation loss; of equal ones the first listed.

    Raises:
        TrainingError: where every candidate diverged.
    """
    trained = [one for one in candidates if one.validation_loss is not None]
    if not trained:
        raise TrainingError(
            f"{run}: the loss of every candidate of sweep.select stopped being a number; choose "
            "among lower learning rates, or try train.precision=fp32"
        )
    return min(trained, key=lambda one: one.validation_loss or 0.0)


def class_weights(labels: Sequence[str], classes: Sequence[str]) -> dict[str, float]:
    """Equation 1 of the paper: `W_c = 1 - n_c / N`, counts of the training subjects."""
    counts = Counter(labels)
    return {name: 1 - counts[name] / len(labels) for name in classes}


def validation_loss(
    table: PredictionTable, labels: Mapping[str, str], weights: Mapping[str, float]
) -> float:
    """The mean of `W_y · CE` over the rows of a table.

    Args:
        labels: the true class of each subject, as the cohort has it.
        weights: of the classes.
    """
    place = {name: number for number, name in enumerate(table.classes)}
    losses = []
    for row in table.rows:
        label = labels[row.subject_id]
        probability = max(row.probabilities[place[label]], LEAST_PROBABILITY)
        losses.append(-weights[label] * math.log(probability))
    return math.fsum(losses) / len(losses)


def write(run: Path, selection: Selection) -> None:
    """Write `selection.json`; a reader sees all of it or none."""
    write_atomic(run / FILE_NAME, json.dumps(asdict(selection), indent=1) + "\n")


def read(run: Path) -> Selection | None:
    """What a run has chosen; None where it has not chosen yet.

    Raises:
        UserError: where the file is damaged.
    """
    path = run / FILE_NAME
    try:
        content = json.loads(read_text(path))
        content["candidates"] = tuple(Judged(**item) for item in content["candidates"])
        selection = Selection(**content)
        _ = selection.winner
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, StopIteration, RecursionError) as error:
        raise UserError(
            f"{path} is damaged ({error!r}); delete it, and the run chooses again by its inner runs"
        ) from error
    return selection


def record(run: Path) -> dict[str, Any] | None:
    """The choice as provenance.json has it; None where nothing was chosen."""
    selection = read(run)
    return None if selection is None else {"chosen": selection.winner.values, "by": FILE_NAME}


def changed_since(run: Path, selection: Selection) -> list[str]:
    """Candidates whose predictions are not those that the choice was made on.

    Inner runs that were deleted since are none of them.
    """
    return [
        one.name
        for one in selection.candidates
        if (file := inner_folder(run, one.name) / predictions.FILE_NAME).is_file()
        and sha256_of(file) != one.predictions_sha256
    ]


def apply(run: Path, config: Config, selection: Selection) -> Path:
    """Write the configuration with the chosen values.

    Args:
        config: the run's own, frozen, whose candidates must be those of the selection.

    Returns:
        Its file, which is to be trained.

    Raises:
        UserError: where the selection is of other candidates or of other predictions.
    """
    names = [candidate_name(values) for values in grid(config.sweep.select)]
    if names != [one.name for one in selection.candidates]:
        raise ConfigError(
            f"{run / FILE_NAME} chose among {', '.join(one.name for one in selection.candidates)}, "
            f"expected {', '.join(names)}; delete it, and the run chooses again"
        )
    if changed := changed_since(run, selection):
        raise UserError(
            f"{run / FILE_NAME} was made on other predictions of {', '.join(changed)} than there "
            f"are in {run / FOLDER}; restore them, or delete {FILE_NAME} to choose again"
        )
    target = run / SELECTED_FILE
    chosen = inner_folder(run, selection.chosen) / CONFIG_FILE
    if chosen.is_file() or not target.is_file():
        inner = configuration.load(chosen)
        configuration.save(splits.whole(inner), target)
    return target


def tidy(run: Path, names: Iterable[str]) -> None:
    """Delete the weights of inner runs that a choice was made on; nothing reads them any more."""
    for name in names:
        folder = inner_folder(run, name)
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        (folder / MODEL_FILE).unlink(missing_ok=True)


def config_of(run: Path) -> Config:
    """The configuration that a run trained with: as frozen, or with the values it has chosen.

    Raises:
        ConfigError: where there is none.
    """
    selected = run / SELECTED_FILE
    return configuration.load(selected if selected.is_file() else run / CONFIG_FILE)
