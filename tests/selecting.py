"""A sweep that chooses in each fold, on a tiny cohort, with every configuration written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stfmri.study import config as configuration
from stfmri.study import splits
from stfmri.study.candidates import candidates_of
from stfmri.study.config import Config
from stfmri.study.config.training import ModelConfig
from stfmri.study.runs import Run, Sweep
from stfmri.study.sweep_file import write_sweep
from tests.tiny import tiny_cache, tiny_config

VARIANT = "mc3_18-scratch"
RATES = {"train.learning_rate": (1e-4, 1e-3)}


def selecting_config(
    root: Path, select: Mapping[str, Sequence[Any]] = RATES, **changes: object
) -> Config:
    config = tiny_config(root, **{"model": ModelConfig("mc3_18"), **changes})
    chosen = {key: tuple(values) for key, values in select.items()}
    return replace(config, sweep=replace(config.sweep, name="tiny", select=chosen))


def selecting_sweep(config: Config, per_class: int = 6) -> Sweep:
    """The sweep of one network on every fold, as a submission leaves it; its cohort where absent.

    Args:
        per_class: subjects of each of the three classes.
    """
    if not (config.cache / "index.csv").is_file():
        tiny_cache(config, per_class)
    splits.ensure(config)
    runs = [
        Run(
            VARIANT,
            "mc3_18",
            "scratch",
            fold,
            config.sweep_folder / VARIANT / f"fold{fold}",
            {"split.fold": fold},
        )
        for fold in range(config.split.folds)
    ]
    sweep = Sweep(config, runs, candidates=candidates_of(config, _no_groups))
    write_sweep(sweep)
    for run in sweep.networks:
        configuration.save(sweep.config_of(run), run.config_file)
    return sweep


def _no_groups(choices: Mapping[str, str]) -> Config:
    raise AssertionError(f"no groups are composed here, asked for {choices}")
