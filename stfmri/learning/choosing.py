"""Train a run; where its sweep lists candidates (`sweep.select`), choose among them first.

Candidates are trained and judged within the run's own training subjects, each as an inner run with
a folder, a lock and checkpoints of its own, so that several processes may share them. The test
subjects of the run are in no part of an inner run's split and cannot be opened by it.
"""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

import torch
from accelerate.state import AcceleratorState

from stfmri.learning.training import train_run
from stfmri.study import config as configuration
from stfmri.study import locks, predictions, selection
from stfmri.study.config import Config
from stfmri.study.errors import DivergedError, RunHeldError, UserError
from stfmri.study.predictions import NotFiniteError

POLL_S = 1.0  # between two looks at inner runs that other processes train


def train(config_file: Path, side_by_side: int = 1) -> None:
    """Train the run whose frozen configuration is `config_file`, or go on with it.

    Args:
        side_by_side: how many runs share the device at once.

    Raises:
        RunHeldError: where another live process holds the run.
        UserError: where its cache, split, weights or inner runs cannot be used.
        TrainingError: where the loss stops being a number; of an inner run that is recorded
            instead.
    """
    config = configuration.load(config_file)
    if config.split.inner:
        _train_inner(config_file, config, side_by_side)
        return
    run = config_file.resolve().parent
    if config.sweep.select and not predictions.is_done(run, config.split.fold):
        config_file = _choose(run, config, side_by_side)
        _free_device()
    train_run(config_file, side_by_side)


def _choose(run: Path, config: Config, side_by_side: int) -> Path:
    """The configuration with the chosen values, once every candidate has been judged."""
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        return _chosen_before(run)
    with locks.lock(run):
        chosen = selection.read(run)
        if chosen is None:
            _judge_all(selection.inner_config_files(run, config), side_by_side)
            chosen = selection.judge(run, config)
            selection.write(run, chosen)
            print(_told(chosen), flush=True)
        target = selection.apply(run, config, chosen)
        selection.tidy(run, [one.name for one in chosen.candidates])
    return target


def _chosen_before(run: Path) -> Path:
    """As `_choose`, for one of several processes, which would have to choose as one."""
    chosen = selection.read(run)
    if chosen is None or not (run / selection.SELECTED_FILE).is_file():
        raise UserError(
            f"{run} has still to choose among the candidates of sweep.select, which one process "
            "does: start it once without accelerate or torchrun, and on several GPUs when "
            f"{run / selection.SELECTED_FILE} is there"
        )
    return run / selection.SELECTED_FILE


def _judge_all(files: list[Path], side_by_side: int) -> None:
    """Bring every inner run to its end: those that nobody trains here, in the end all.

    The last one first, since the jobs that share the work begin with the first.
    """
    waited_for: set[Path] = set()
    folds = {file: configuration.load(file).split.fold for file in files}
    while missing := [one for one in files if not selection.is_judged(one.parent, folds[one])]:
        free = [file for file in missing if locks.holder(file.parent) is None]
        if free:
            try:
                _train_inner(free[-1], configuration.load(free[-1]), side_by_side)
            except RunHeldError:  # somebody was faster
                time.sleep(POLL_S)
            _free_device()
            continue
        for file in set(missing) - waited_for:
            print(f"waiting for {file.parent}, held by {locks.holder(file.parent)}", flush=True)
        waited_for.update(missing)
        time.sleep(POLL_S)


def _train_inner(config_file: Path, config: Config, side_by_side: int) -> None:
    """Train a candidate; one that diverges has come to its end too."""
    run = config_file.resolve().parent
    if selection.is_judged(run, config.split.fold):
        print(f"{run} is done already", flush=True)
        return
    try:
        train_run(config_file, side_by_side)
    except (DivergedError, NotFiniteError) as error:
        selection.record_divergence(run, error)
        print(f"diverged, and so not to be chosen: {error}", flush=True)


def _free_device() -> None:
    """Leave the process as a run finds it that is its first: Accelerate keeps one state of it."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    AcceleratorState._reset_state(reset_partial_state=True)


def _told(chosen: selection.Selection) -> str:
    losses = ", ".join(
        f"{one.name} {'diverged' if one.validation_loss is None else f'{one.validation_loss:.4f}'}"
        for one in chosen.candidates
    )
    return f"chose {chosen.chosen} by validation loss on {chosen.judged} subjects: {losses}"
