"""Which caches a sweep reads: one, or several where it compares ways of making volumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stfmri.study.compose import compose
from stfmri.study.config import Config
from stfmri.study.expansion import expand
from stfmri.study.runs import Sweep


def configurations(overrides: Sequence[str], sweep: str | None, root: Path | None) -> list[Config]:
    """One configuration for each cache that a command line asks for.

    Args:
        overrides: `key=value` or `group=choice`.
        sweep: a choice of conf/sweep.
        root: the folder of data/, runs/ and results/.

    Raises:
        ConfigError: as `compose` and `expand` do.
    """

    def choose(choices: Mapping[str, str]) -> Config:
        return compose(overrides, sweep=sweep, root=root, choices=choices)

    config = choose({})
    return list(caches_of(config, choose).values()) if config.sweep.axes else [config]


def caches_of(config: Config, choose: Callable[[Mapping[str, str]], Config]) -> dict[Path, Config]:
    """One configuration for each cache that a sweep of `config` reads; its folds need not be known.

    Args:
        choose: gives the configuration with other choices of some groups, {group: choice}.

    Raises:
        ConfigError: as `expand` does.
    """
    draft = replace(config, sweep=replace(config.sweep, folds=(0,)))
    return Sweep(draft, expand(draft, choose)).by_cache
