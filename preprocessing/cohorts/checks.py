"""What must hold in every cohort."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from preprocessing.cohorts.scan import Scan
from stfmri.study.errors import UserError

# Line breaks and other controls, and the bytes of a file name that are no UTF-8: none of them can
# stand in a line of CSV that every program reads alike.
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def one_line(text: str) -> str:
    """`text` without line breaks: notes may run over several lines in a spreadsheet."""
    return CONTROL_CHARACTERS.sub(" ", text)


def refuse_control_characters(where: str, values: Iterable[str | Path]) -> None:
    """Refuse names that no line of a CSV can hold.

    Raises:
        UserError: naming the first of them and `where` it was found.
    """
    for text in map(str, values):
        if CONTROL_CHARACTERS.search(text):
            raise UserError(
                f"{where}: {text!a} holds line breaks or other control characters, which the names "
                "of subjects, patients, sources, classes and files must not; rename it"
            )


def refuse_duplicates(scans: Sequence[Scan], places: Sequence[str]) -> None:
    """Refuse two scans with one subject_id.

    Raises:
        UserError: naming the places of both.
    """
    first: dict[str, str] = {}
    for scan, place in zip(scans, places, strict=True):
        if scan.subject_id in first:
            raise UserError(
                f"the subject {scan.subject_id} occurs twice: {first[scan.subject_id]} and "
                f"{place}; subject_id names one scan, patient_id joins the scans of one person"
            )
        first[scan.subject_id] = place
