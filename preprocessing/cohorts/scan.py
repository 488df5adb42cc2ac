"""One subject of a cohort, as every finder describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stfmri.study.config.data import SCAN


@dataclass(frozen=True)
class Scan:
    """The scans of one subject, not yet read: one file for each contrast.

    Attributes:
        subject_id: unique in the cohort; never part of a path.
        patient_id: scans of one patient never stand on both sides of a split.
        source: where the scan was made, the unit of the shortcut probes.
        label: the class; empty where it is not known, and then there is a fault.
        paths: contrast → file, in the order of the channels; a contrast that the subject lacks is
            absent.
        mask: a brain mask on the first file's grid (`> 0`), used as it is; None asks for none.
        stripped: whether everything but the brain is already background.
        columns: every column of the cohort table by its own name, the label's included.
        fault: why the subject cannot be used, known before any file is read; empty for none.
        excluded: whether a person left the subject out (`data.exclude`); the fault says why.
    """

    subject_id: str
    patient_id: str
    source: str
    label: str
    paths: dict[str, Path]
    mask: Path | None = None
    stripped: bool = False
    columns: dict[str, str] = field(default_factory=dict)
    fault: str = ""
    excluded: bool = False

    @property
    def path(self) -> Path:
        """The first contrast's file, which stands for the subject in messages."""
        return next(iter(self.paths.values()), Path())

    @property
    def brain_from(self) -> str:
        """How its brain is found: `given` by a mask, `stripped` by its background, `extracted`."""
        if self.mask is not None:
            return "given"
        return "stripped" if self.stripped else "extracted"


def path_columns(paths: Mapping[str, Path]) -> dict[str, str]:
    """The columns that a cohort table has for these files: `path`, or `path_<contrast>`."""
    return {"path" if name == SCAN else f"path_{name}": str(path) for name, path in paths.items()}
