"""Sweeps as a submission composes and expands them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stfmri.study.compose import compose
from stfmri.study.expansion import expand
from stfmri.study.runs import Sweep


def make_sweep(root: Path, *overrides: str, sweep: str = "full") -> Sweep:
    def composed(more: Sequence[str] = ()):
        return compose([*overrides, *more], sweep=sweep, root=root)

    def choose(choices: Mapping[str, str]):
        return composed([f"{group}={choice}" for group, choice in choices.items()])

    return Sweep(composed(), expand(composed(), choose), sweep, overrides)
