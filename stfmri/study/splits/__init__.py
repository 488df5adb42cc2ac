"""Which subjects train and which test: drawn once, seeded, written, then only read.

Subjects that share a patient or an identical volume stay on one side, and so do scans that are
almost the same unless the user says otherwise: scores from a split that ignores this can be too
high by tens of points. A kind of split is a record in a file of its own,
listed in `SPLITS`; nothing else knows its name.
"""

from __future__ import annotations

from stfmri.study.splits.checks import guard
from stfmri.study.splits.drawing import draw
from stfmri.study.splits.facts import Tested, facts
from stfmri.study.splits.file import SplitFile, require_unchanged
from stfmri.study.splits.file import read as read_file
from stfmri.study.splits.file import write as write_file
from stfmri.study.splits.fraction import reduced
from stfmri.study.splits.groups import (
    cohort_sha256,
    group_subjects,
    require_columns,
    subjects_in,
    subjects_of,
)
from stfmri.study.splits.record import Fold, Subject
from stfmri.study.splits.registry import (
    SPLITS,
    as_submitted,
    describe,
    needs_data,
    notes_of,
    resolved,
)
from stfmri.study.splits.rows import rows_for, rows_in, rows_of
from stfmri.study.splits.split import UNHASHED, Split, check, ensure, whole

__all__ = [
    "SPLITS",
    "UNHASHED",
    "Fold",
    "Split",
    "SplitFile",
    "Subject",
    "Tested",
    "as_submitted",
    "check",
    "cohort_sha256",
    "describe",
    "draw",
    "ensure",
    "facts",
    "group_subjects",
    "guard",
    "needs_data",
    "notes_of",
    "read_file",
    "reduced",
    "require_columns",
    "require_unchanged",
    "resolved",
    "rows_for",
    "rows_in",
    "rows_of",
    "subjects_in",
    "subjects_of",
    "whole",
    "write_file",
]
