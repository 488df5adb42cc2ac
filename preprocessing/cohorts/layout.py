"""The record of a layout: how one kind of cohort lies on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from preprocessing.cohorts.scan import Scan
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.files import absolute


@dataclass(frozen=True)
class Key:
    """A key `data.<name>` that a layout cannot do without.

    Attributes:
        name: without `data.`.
        value: what to type for it, such as DIR.
        what: what it must be, in words that go on "data.<name>=DIR, …".
    """

    name: str
    value: str
    what: str

    def path(self, data: DataConfig) -> Path:
        """Where the key points.

        Raises:
            ConfigError: where it is not given.
        """
        given = getattr(data, self.name)
        if not given:
            raise ConfigError(f"data={data.kind} needs data.{self.name}={self.value}, {self.what}")
        return absolute(given)

    def folder(self, data: DataConfig) -> Path:
        """The folder it names.

        Raises:
            UserError: where there is none.
        """
        path = self.path(data)
        if not path.is_dir():
            raise UserError(f"data.{self.name} must be {self.what}; there is no folder {path}")
        return path


@dataclass(frozen=True)
class Layout:
    """One kind of cohort.

    Attributes:
        name: the value of `data.kind`, and of the file in conf/data.
        label: a line that says what lies where, for help and documents.
        keys: what must be given.
        find: lists the scans in a fixed order and opens none; a subject that cannot be used is
            listed with a fault. Raises UserError where there is no such cohort.
    """

    name: str
    label: str
    keys: tuple[Key, ...]
    find: Callable[[DataConfig], list[Scan]]

    def is_named_in(self, data: DataConfig) -> bool:
        """Whether all that the layout cannot do without is given."""
        return all(getattr(data, key.name) for key in self.keys)
