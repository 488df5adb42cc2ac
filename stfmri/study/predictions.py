"""The prediction table of one run: schema, write, read, validate.

`predictions.csv` holds one row for each test subject of the run's fold:
`subject_id, patient_id, source, fold, split, label, prediction, prob_<class> …`. `split` is
`test`; `label` and `prediction` are class names; the probabilities lie in [0, 1] and sum to 1.
The file is written last, so a valid one marks its run as done. `launch/predict.py` writes the same
table of another cohort, whose `split` is `external`; it is no run's. Only the standard library is
imported, so that a thousand runs are looked through in about a second.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stfmri.study.errors import UserError
from stfmri.study.files import NotRegularFileError, read_text, write_atomic

if TYPE_CHECKING:
    from stfmri.study.splits import Subject

FILE_NAME = "predictions.csv"
FIXED_COLUMNS = ("subject_id", "patient_id", "source", "fold", "split", "label", "prediction")
PROBABILITY_PREFIX = "prob_"
SPLIT = "test"
EXTERNAL = "external"  # scans of another cohort, predicted by networks that are finished
# How far a row's probabilities may sum from 1: half precision keeps about three digits.
SUM_TOLERANCE = 1e-3


class PredictionError(UserError):
    """A prediction table that is no evidence: broken, incomplete, doubled or contradictory."""


class NotFiniteError(PredictionError):
    """Probabilities that are no numbers, of a training that diverged in its last steps."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One test subject of one fold; `probabilities` follow the order of the table's classes."""

    subject_id: str
    patient_id: str
    source: str
    fold: int
    split: str
    label: str
    prediction: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PredictionTable:
    """The rows of one `predictions.csv` and the classes its columns name."""

    path: Path
    classes: tuple[str, ...]
    rows: tuple[Prediction, ...]


def of_subject(
    subject: Subject,
    fold: int,
    classes: Sequence[str],
    probabilities: tuple[float, ...],
    split: str = SPLIT,
) -> Prediction:
    """The row of one test subject; predicted is the likeliest class."""
    return Prediction(
        subject_id=subject.subject_id,
        patient_id=subject.patient_id,
        source=subject.source,
        fold=fold,
        split=split,
        label=subject.label,
        prediction=classes[probabilities.index(max(probabilities))],
        probabilities=probabilities,
    )


def write(
    path: Path,
    *,
    subjects: Sequence[Subject],
    fold: int,
    classes: Sequence[str],
    probabilities: Iterable[Sequence[float]],
    split: str = SPLIT,
) -> None:
    """Write the predictions of one fold; a reader sees the whole file or none.

    Args:
        path: where to, usually `<run>/predictions.csv`.
        subjects: the N test subjects of the fold.
        fold: number of the fold, from 0.
        classes: the K class names, in the order of the columns of `probabilities`.
        probabilities: shape (N, K), in [0, 1], each row summing to 1.
        split: `SPLIT`, or `EXTERNAL` for subjects of another cohort.

    Raises:
        PredictionError: if the table would not pass `validate`; nothing is written then.
    """
    rows = []
    for subject, subject_probabilities in zip(subjects, probabilities, strict=True):
        # Nine digits hold a float32 exactly; the prediction is read off the printed values, so
        # that it is their argmax for every reader.
        printed = tuple(float(f"{float(value):.9g}") for value in subject_probabilities)
        if len(printed) != len(classes) or not all(math.isfinite(value) for value in printed):
            raise NotFiniteError(
                f"expected {len(classes)} finite probabilities of subject "
                f"{subject.subject_id!r}, found {list(printed)}, for {path}; did the training "
                "diverge?"
            )
        rows.append(of_subject(subject, fold, classes, printed, split))
    table = PredictionTable(path, tuple(classes), tuple(rows))
    validate(table, classes, fold, {row.subject_id for row in rows}, split)
    write_atomic(path, _as_csv(table))


def read(path: Path) -> PredictionTable:
    """Read one `predictions.csv`; the classes are those its header names, in that order.

    Raises:
        PredictionError: if the file is missing, cut off, or not such a table.
    """
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise PredictionError(f"expected the predictions of a run in {path}, found none") from error
    except UnicodeDecodeError as error:
        raise PredictionError(f"expected UTF-8 text in {path}, found {error}") from error
    except NotRegularFileError as error:
        raise PredictionError(str(error)) from error
    header, records = _parse(text, path)
    classes = tuple(name.removeprefix(PROBABILITY_PREFIX) for name in header[len(FIXED_COLUMNS) :])
    rows = tuple(_prediction(record, path) for record in records)
    return PredictionTable(path, classes, rows)


def validate(
    table: PredictionTable,
    classes: Sequence[str],
    fold: int,
    expected_subjects: Collection[str],
    split: str = SPLIT,
) -> None:
    """Check that `table` is the evidence of `fold`: each expected subject exactly once.

    Args:
        table: what `read` returned.
        classes: the class names of the sweep, in their order.
        fold: number of the fold, from 0.
        expected_subjects: subject ids of the fold's test set.
        split: what every row must say.

    Raises:
        PredictionError: naming the file, the subject, what was expected and what was found.
    """
    if table.classes != tuple(classes):
        raise PredictionError(
            f"expected probabilities of the classes {list(classes)} in {table.path}, found "
            f"{list(table.classes)}"
        )
    seen: set[str] = set()
    for row in table.rows:
        if row.subject_id in seen:
            raise PredictionError(
                f"expected one row a subject in {table.path}, found subject "
                f"{row.subject_id!r} more than once"
            )
        seen.add(row.subject_id)
        _validate_row(row, table, fold, split)
    expected = set(expected_subjects)
    _refuse("no row for", expected - seen, table.path)
    _refuse("rows for subjects outside the test set:", seen - expected, table.path)


def is_done(run_dir: Path, fold: int | None = None) -> bool:
    """Whether `run_dir` holds a whole table of test predictions; fast, so without the scores.

    Args:
        fold: number of the run's fold, which every row must have; None takes any.
    """
    path = run_dir / FILE_NAME
    try:
        _, records = _parse(read_text(path), path)
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, UserError):
        return False
    number, split = FIXED_COLUMNS.index("fold"), FIXED_COLUMNS.index("split")
    return all(
        record[split] == SPLIT and (fold is None or record[number] == str(fold))
        for record in records
    )


def _as_csv(table: PredictionTable) -> str:
    """The table as text, header first, newline at the end."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FIXED_COLUMNS, *(PROBABILITY_PREFIX + name for name in table.classes)])
    for row in table.rows:
        probabilities = [f"{value:.9g}" for value in row.probabilities]
        writer.writerow(
            [
                row.subject_id,
                row.patient_id,
                row.source,
                row.fold,
                row.split,
                row.label,
                row.prediction,
                *probabilities,
            ]
        )
    return text.getvalue()


def _parse(text: str, path: Path) -> tuple[list[str], list[list[str]]]:
    """Split `text` into its header and its records, each checked for its number of fields."""
    if not text.endswith("\n"):
        raise PredictionError(f"expected a whole table in {path}, found its last line cut off")
    try:
        header, *records = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (csv.Error, ValueError) as error:
        raise PredictionError(f"expected a table in {path}, found {error}") from error
    columns = tuple(header[: len(FIXED_COLUMNS)])
    probabilities = header[len(FIXED_COLUMNS) :]
    named = all(name.startswith(PROBABILITY_PREFIX) for name in probabilities)
    if columns != FIXED_COLUMNS or len(probabilities) < 2 or not named:
        raise PredictionError(
            f"expected the columns {', '.join(FIXED_COLUMNS)} and then {PROBABILITY_PREFIX}<class> "
            f"of two or more classes in {path}, found {', '.join(header)}"
        )
    if not records:
        raise PredictionError(f"expected one row a test subject in {path}, found none")
    for number, record in enumerate(records, start=2):
        if len(record) != len(header):
            raise PredictionError(
                f"expected {len(header)} fields in row {number} of {path}, found {len(record)}"
            )
    return header, records


def _prediction(record: list[str], path: Path) -> Prediction:
    """Turn one record into a row."""
    subject, patient, source, fold, split, label, prediction, *probabilities = record
    try:
        return Prediction(
            subject,
            patient,
            source,
            int(fold),
            split,
            label,
            prediction,
            tuple(float(value) for value in probabilities),
        )
    except ValueError as error:
        raise PredictionError(
            f"expected a fold number and probabilities of subject {subject!r} in {path}: {error}"
        ) from error


def _validate_row(row: Prediction, table: PredictionTable, fold: int, split: str) -> None:
    """Check one row by itself."""

    def wrong(expected: str, found: object) -> PredictionError:
        return PredictionError(
            f"expected {expected} for subject {row.subject_id!r} in {table.path}, found {found!r}"
        )

    if row.fold != fold:
        raise wrong(f"fold {fold}", row.fold)
    if row.split != split:
        raise wrong(f"split {split!r}", row.split)
    if row.label not in table.classes:
        raise wrong(f"a label out of {list(table.classes)}", row.label)
    if not all(0.0 <= value <= 1.0 for value in row.probabilities):
        raise wrong("probabilities from 0 to 1", list(row.probabilities))
    total = math.fsum(row.probabilities)
    if abs(total - 1.0) > SUM_TOLERANCE:
        raise wrong("probabilities that sum to 1", total)
    likeliest = table.classes[row.probabilities.index(max(row.probabilities))]
    if row.prediction != likeliest:
        raise wrong(f"the likeliest class {likeliest!r} as the prediction", row.prediction)


def _refuse(complaint: str, subjects: set[str], path: Path) -> None:
    """Raise if any subject is left over, naming the first few."""
    if subjects:
        named = ", ".join(repr(name) for name in sorted(subjects)[:5])
        more = f" and {len(subjects) - 5} more" if len(subjects) > 5 else ""
        raise PredictionError(
            f"expected one row for each test subject in {path}, found {complaint} {named}{more}"
        )
