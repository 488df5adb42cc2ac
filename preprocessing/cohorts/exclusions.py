"""`data.exclude`: subjects that a person left out, with the reason."""

from __future__ import annotations

from dataclasses import replace

from preprocessing.cohorts.checks import one_line
from preprocessing.cohorts.scan import Scan
from preprocessing.cohorts.sheet import read_sheet
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import UserError
from stfmri.study.files import absolute
from stfmri.study.rejected import LEFT_OUT
from stfmri.study.words import listed


def without_excluded(scans: list[Scan], data: DataConfig) -> list[Scan]:
    """The scans, those left out with `excluded` and the reason as their fault.

    The file has the columns `subject_id` and, if you like, `reason`.

    Raises:
        UserError: where the file cannot be read, or names a subject that is not in the cohort.
    """
    if not data.exclude:
        return scans
    sheet = read_sheet(absolute(data.exclude), "data.exclude")
    sheet.require(["subject_id"], "it lists the subjects to leave out, with a reason if you like")
    reasons = {row.cells["subject_id"]: row.cells.get("reason", "") for row in sheet.rows}
    unknown = sorted(reasons.keys() - {scan.subject_id for scan in scans})
    if unknown:
        raise UserError(
            f"data.exclude: {sheet.path} names subjects that the cohort {data.name} does not have: "
            f"{listed(unknown)}; correct or remove these rows"
        )
    return [
        replace(scan, excluded=True, fault=_fault(reasons[scan.subject_id]))
        if scan.subject_id in reasons
        else scan
        for scan in scans
    ]


def _fault(reason: str) -> str:
    return f"{LEFT_OUT}{one_line(reason) or 'no reason given'}"
