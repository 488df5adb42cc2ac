"""A labelled cohort of its own as an external test: `predictions.csv` and the report on it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from launch.prediction.answers import Answer
from launch.prediction.examine import Examined
from preprocessing.chain import Chain, read
from preprocessing.cohorts import Scan
from preprocessing.nifti import ScanError
from stfmri.learning.models import training_scans_of
from stfmri.study import predictions
from stfmri.study.errors import LeakageError, UserError
from stfmri.study.files import private_dir, write_atomic
from stfmri.study.rejected import Rejected, write_rejected
from stfmri.study.splits import Subject
from stfmri.study.words import listed, plural

COHORT_FILE = "cohort.csv"


def require_unseen(answers: Sequence[Answer]) -> None:
    """Refuse a cohort that holds training scans: its score would say nothing.

    Raises:
        LeakageError: naming them.
    """
    _refuse([answer.name for answer in answers if answer.seen_by])


def require_new(scans: Sequence[Scan], chain: Chain, runs: Sequence[Path]) -> None:
    """As `require_unseen`, of scans as they were stored, before any of them is preprocessed.

    One that cannot be read is passed over: whoever examines it says why.

    Args:
        runs: whose networks are to answer.

    Raises:
        LeakageError: naming the scans.
    """
    known = {scan.quality.scan_sha256 for run in runs for scan in training_scans_of(run)} - {""}
    if known:
        _refuse([scan.subject_id for scan in scans if _stored_sha256(scan, chain) in known])


def _stored_sha256(scan: Scan, chain: Chain) -> str:
    try:
        return read(scan, chain).scan_sha256
    except (ScanError, OSError):
        return ""


def _refuse(seen: Sequence[str]) -> None:
    if seen:
        raise LeakageError(
            f"the networks were trained on {plural(len(seen), 'scan')} of the table "
            f"({listed(seen)}): leave them out of it, or name runs with --run that did not see them"
        )


def write(
    folder: Path,
    answers: Sequence[Answer],
    refused: Sequence[Examined],
    *,
    table: Path,
    variant: str,
    networks: int,
    further: Sequence[str] = (),
) -> Path:
    """Write the predictions, the refused scans, and the report.

    Args:
        folder: to write to.
        table: that the scans are from.
        variant: whose networks answered.
        networks: how many of them.
        further: notes on the choice of networks.

    Returns:
        Path of the report.

    Raises:
        LeakageError: where a network was trained on one of the scans.
        UserError: where no scan was answered.
    """
    # SciPy and Matplotlib take seconds to import.
    from stfmri.evidence import report_predictions

    require_unseen(answers)
    if not answers:
        raise UserError(f"no scan of {table} could be used; see the errors above")
    private_dir(folder)
    subjects = [_subject(answer.examined) for answer in answers]
    predictions.write(
        folder / predictions.FILE_NAME,
        subjects=subjects,
        fold=0,
        classes=answers[0].classes,
        probabilities=[answer.probability_K.tolist() for answer in answers],
        split=predictions.EXTERNAL,
    )
    write_rejected(
        folder,
        (Rejected(one.scan.subject_id, str(one.scan.path), one.reason) for one in refused),
    )
    write_atomic(folder / COHORT_FILE, _cohort(subjects))
    return report_predictions(
        [folder / predictions.FILE_NAME],
        out=folder,
        cohort=folder / COHORT_FILE,
        classes=answers[0].classes,
        name=f"{table.stem}, an external test",
        variant=variant if networks == 1 else f"{variant}, mean of {networks} networks",
        notes=[*further, *_notes(answers, refused, table)],
    )


def _subject(found: Examined) -> Subject:
    scan = found.scan
    return Subject(
        scan.subject_id, scan.patient_id, scan.source, scan.label, found.sha256, scan.columns
    )


def _cohort(subjects: Sequence[Subject]) -> str:
    """The table's further columns, by which the report scores subgroups."""
    names = list(dict.fromkeys(name for subject in subjects for name in subject.columns))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    own = ("subject_id", "patient_id", "source", "label")
    further = [name for name in names if name not in own]
    writer.writerow([*own, *further])
    for one in subjects:
        fixed = [one.subject_id, one.patient_id, one.source, one.label]
        writer.writerow([*fixed, *(one.columns.get(name, "") for name in further)])
    return text.getvalue()


def _notes(answers: Sequence[Answer], refused: Sequence[Examined], table: Path) -> list[str]:
    """What a reader of the report should know of the scans."""
    notes = []
    count = len(answers) + len(refused)
    if refused:
        names = listed([one.scan.subject_id for one in refused])
        notes.append(
            f"{len(refused)} of the {count} scans of {table.name} were refused and count nowhere "
            f"({names}); rejected.csv has the reasons."
        )
    compared = [one.familiarity for one in answers if one.familiarity is not None]
    if compared:
        outside = sum(one.is_outside for one in compared)
        notes.append(
            f"{outside} of {len(compared)} scans lie outside the distribution of the training "
            "scans, by intensities and brain volume."
        )
    return notes
