"""How a study's subjects are divided."""

from __future__ import annotations

from dataclasses import dataclass, fields

from stfmri.study.config.checks import at_least, one_of
from stfmri.study.errors import ConfigError
from stfmri.study.splits import SPLITS


@dataclass(frozen=True)
class SplitConfig:
    """How subjects are divided, and which fold a run takes."""

    kind: str = "random"  # of stfmri/study/splits
    n: int = 3  # folds; 0: as many as the data gives, for kinds that take them from it
    repeats: int = 1  # kind=kfold: times that every subject is tested
    groups: int = 0  # kind=source: groups of sources; 0: each source by itself
    column: str = ""  # kind=column: of the cohort table; empty: `fold` if there, else `split`
    seed: int = 0
    test_fraction: float = 0.3  # kind=random
    val_fraction: float = 0.0  # of the training part, watched but never trained on
    train_fraction: float = 1.0  # of each fold's training part, which runs train on
    near_duplicates: str = "together"  # scans that are almost the same: together | apart
    fold: int = 0
    sha256: str = ""  # of the folds, filled in at submission; empty: any
    inner: float = 0.0  # set by sweep.select: the share of the training part that judges; 0: none

    def __post_init__(self) -> None:
        one_of("split.kind", self.kind, SPLITS)
        kind = SPLITS[self.kind]
        one_of("split.near_duplicates", self.near_duplicates, ("together", "apart"))
        at_least("split.n", self.n, kind.least_n)
        at_least("split.repeats", self.repeats, 1)
        at_least("split.groups", self.groups, 0)
        usual = {item.name: item.default for item in fields(self)}
        for key in {key for other in SPLITS.values() for key in other.keys} - {*kind.keys}:
            if getattr(self, key) != usual[key]:
                owners = ", ".join(o.name for o in SPLITS.values() if key in o.keys)
                raise ConfigError(f"split.{key} needs split={owners}, found split={self.kind}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"split.seed must lie in 0–{2**32 - 1}, found {self.seed}")
        if not 0 < self.test_fraction < 1:
            raise ConfigError(f"split.test_fraction must lie in (0, 1), found {self.test_fraction}")
        if not 0 < self.train_fraction <= 1:
            raise ConfigError(
                f"split.train_fraction must lie in (0, 1], found {self.train_fraction}"
            )
        if not 0 <= self.val_fraction < 1:
            raise ConfigError(f"split.val_fraction must lie in [0, 1), found {self.val_fraction}")
        if not 0 <= self.inner < 1:
            raise ConfigError(f"split.inner must lie in [0, 1), found {self.inner}")
        # Before the data is read, a fold may be any.
        if self.fold < 0 or (self.n and self.fold >= self.folds):
            raise ConfigError(
                f"split.fold must lie in 0–{self.folds - 1} (split.n={self.n}), found {self.fold}"
            )

    @property
    def folds(self) -> int:
        """How many folds there are; 0 before the data is read, for kinds that need it."""
        return SPLITS[self.kind].folds(self)
