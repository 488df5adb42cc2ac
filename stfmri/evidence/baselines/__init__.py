"""Baselines: what a score must be compared with before it means anything.

A baseline is a record in a module of its own, listed in `BASELINES`. Importing the registry loads
neither scikit-learn nor h5py: commands that should start at once read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stfmri.evidence.baselines import covariates, intensity, majority, shape, source, voxels
from stfmri.evidence.baselines.record import Baseline
from stfmri.evidence.baselines.shuffled import control_of
from stfmri.study.errors import ConfigError

if TYPE_CHECKING:
    from stfmri.study.config import Config
    from stfmri.study.splits import Subject

__all__ = ["BASELINES", "fitting_baselines", "left_out"]

# In the order of tables and figures.
_LOOKUPS = (majority.BASELINE, source.BASELINE)
_IMAGES = (intensity.BASELINE, shape.BASELINE, voxels.BASELINE)
BASELINES: Mapping[str, Baseline] = {
    one.name: one for one in (*_LOOKUPS, covariates.BASELINE, *_IMAGES, control_of(_IMAGES))
}


def fitting_baselines(config: Config, subjects: Sequence[Subject]) -> tuple[str, ...]:
    """The baselines of `config.sweep.baselines` that can be used on a cohort, in its order.

    Args:
        config: of the sweep.
        subjects: of the cohort; nobody where it has not been preprocessed yet.

    Raises:
        ConfigError: for a name that is unknown, or doubled, or a key that a baseline cannot use.
    """
    names = config.sweep.baselines
    known = [name for name, one in BASELINES.items() if not one.is_lookup]
    if unknown := [name for name in names if name not in known]:
        always = ", ".join(name for name, one in BASELINES.items() if one.is_lookup)
        raise ConfigError(
            f"sweep.baselines names {', '.join(unknown)}; it may name {', '.join(known)} ({always} "
            "are computed in any case)"
        )
    if len(set(names)) != len(names):
        raise ConfigError(f"sweep.baselines names a baseline twice: {list(names)}")
    return tuple(name for name in names if not BASELINES[name].unfit(config, subjects))


def left_out(config: Config, subjects: Sequence[Subject]) -> list[str]:
    """The baselines of `config.sweep.baselines` that cannot be used, each with the reason."""
    reasons = {name: BASELINES[name].unfit(config, subjects) for name in config.sweep.baselines}
    return [f"{name} ({reason})" for name, reason in reasons.items() if reason]
