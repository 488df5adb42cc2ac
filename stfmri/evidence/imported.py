"""Predictions that another tool made, as evidence: one or more CSV files, and a cohort table.

Columns of a file of predictions:

    subject_id      one test scan
    label           its true class; may stand in the cohort table instead
    prob_<class>    a probability for each class, each row summing to 1
    fold            optional: which fold tested it, from 0 (default 0)
    variant         optional: whose prediction it is (default: the file's name, or the two folders
                    above a file that is called predictions.csv)
    patient_id      optional: scans of one patient are kept together (default: the subject)
    source          optional: centre or study
    split           optional: `external` in every row says that the scans are of another cohort than
                    those that trained

Other columns are ignored. Subjects that a fold does not test count as its training part, as in
cross-validation; what trained the network of a single fold is not known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from stfmri.evidence.cohort import Cohort
from stfmri.evidence.collected import Evidence
from stfmri.evidence.collected_baselines import look_ups
from stfmri.evidence.imported_files import Row, read_cohort_columns, read_rows
from stfmri.evidence.predicted import from_tables
from stfmri.study.errors import UserError
from stfmri.study.predictions import EXTERNAL, PROBABILITY_PREFIX, PredictionTable, of_subject
from stfmri.study.splits import Fold, Subject

# Of a table of predictions or a cohort table; the rest is carried along.
OWN_COLUMNS = ("subject_id", "patient_id", "source", "label", "fold", "variant", "split")


def read_evidence(
    files: Sequence[Path],
    *,
    cohort_file: Path | None = None,
    label: str = "label",
    classes: Sequence[str] = (),
    name: str = "predictions",
    variant: str = "",
    notes: Sequence[str] = (),
) -> Evidence:
    """Everything that the report needs, from files of predictions.

    Args:
        files: CSV files; see above.
        cohort_file: CSV with `subject_id` and any of `label`, `patient_id`, `source` and further
            columns, which subgroups are made of; what it says of a subject counts.
        label: the column of either that holds the true class.
        classes: their order; empty: as the first file's columns.
        name: what the report is called.
        variant: whose predictions they are, where no column says; empty: by the file's name.
        notes: what a reader should know of the scans, a sentence each.

    Raises:
        UserError: naming file and row, where a file is no such table, a subject is tested twice in
            a fold of one variant, variants were tested on different folds of one number, or what
            two files say of a subject differs.
    """
    rows = [row for file in files for row in read_rows(file, variant)]
    classes = tuple(classes or rows[0].probabilities)
    for row in rows:
        if sorted(row.probabilities) != sorted(classes):
            raise UserError(
                f"expected probabilities of {', '.join(classes)} in {row.file}, found "
                f"{', '.join(row.probabilities)}"
            )
    external = _is_external(rows)
    listed = {} if cohort_file is None else read_cohort_columns(cohort_file)
    subjects = _subjects(rows, listed, label, classes)
    cohort = Cohort(classes, subjects, _folds(rows, subjects))
    variants = tuple(
        from_tables(tables, cohort, name=variant, label=variant, kind="network")
        for variant, tables in _tables(rows, subjects, classes).items()
    )
    folds = [number for number, fold in enumerate(cohort.folds) if fold.train]
    baselines, remarks = look_ups(cohort, folds)
    return Evidence(
        name,
        "",
        cohort,
        variants,
        tuple(baselines),
        split=_external_sentence(cohort) if external else _split_sentence(cohort),
        split_notes=(*notes, *_untested(cohort), *remarks),
        is_external=external,
    )


def _subjects(
    rows: Sequence[Row], listed: Mapping[str, Mapping[str, str]], label: str, classes: Sequence[str]
) -> dict[str, Subject]:
    """Every tested subject; files that say different things of one are refused."""
    subjects: dict[str, Subject] = {}
    for row in rows:
        columns = {**row.columns, **listed.get(row.subject_id, {})}
        if columns.get(label) not in classes:
            raise UserError(
                f"expected one of {', '.join(classes)} as {label} of subject {row.subject_id} "
                f"(row {row.number} of {row.file}), found {columns.get(label, 'no such column')!r}"
            )
        further = {
            name: value
            for name, value in columns.items()
            if name not in OWN_COLUMNS and not name.startswith(PROBABILITY_PREFIX)
        }
        subject = Subject(
            row.subject_id,
            columns.get("patient_id") or row.subject_id,
            columns.get("source") or "all",
            columns[label],
            row.subject_id,
            further,
        )
        known = subjects.setdefault(row.subject_id, subject)
        if (known.label, known.patient_id) != (subject.label, subject.patient_id):
            raise UserError(
                f"{row.file}, row {row.number}: {label} or patient_id of subject {row.subject_id} "
                "differs from what another row says"
            )
    return subjects


def _folds(rows: Sequence[Row], subjects: Mapping[str, Subject]) -> tuple[Fold, ...]:
    """Whom each fold tests, by any variant; the others train, but their patients do not."""
    tested: dict[int, dict[str, None]] = defaultdict(dict)
    for row in rows:
        tested[row.fold][row.subject_id] = None
    folds = []
    for number in range(max(tested) + 1):
        names = tested.get(number, {})
        patients = {subjects[name].patient_id for name in names}
        train = (name for name, subject in subjects.items() if subject.patient_id not in patients)
        folds.append(Fold(tuple(train) if len(tested) > 1 else (), (), tuple(names)))
    return tuple(folds)


def _tables(
    rows: Sequence[Row], subjects: Mapping[str, Subject], classes: tuple[str, ...]
) -> dict[str, list[PredictionTable]]:
    """One table for each variant and fold, variants in the order of the files."""
    grouped: dict[str, dict[int, dict[str, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        fold = grouped[row.variant][row.fold]
        if row.subject_id in fold:
            other = fold[row.subject_id]
            raise UserError(
                f"{row.variant} predicts subject {row.subject_id} twice in fold {row.fold}: "
                f"row {other.number} of {other.file} and row {row.number} of {row.file}; number "
                "the folds in a column `fold`"
            )
        fold[row.subject_id] = row
    _check_same_subjects(grouped)
    return {
        variant: [
            PredictionTable(
                Path(variant) / f"fold{number}",
                classes,
                tuple(
                    of_subject(
                        subjects[name],
                        number,
                        classes,
                        tuple(row.probabilities[one] for one in classes),
                    )
                    for name, row in fold.items()
                ),
            )
            for number, fold in sorted(folds.items())
        ]
        for variant, folds in grouped.items()
    }


def _check_same_subjects(grouped: Mapping[str, Mapping[int, Mapping[str, Row]]]) -> None:
    """Variants can be compared on the same test subjects only."""
    first: dict[int, tuple[str, frozenset[str]]] = {}
    for variant, folds in grouped.items():
        for number, fold in folds.items():
            other, names = first.setdefault(number, (variant, frozenset(fold)))
            if differing := sorted(names ^ set(fold)):
                raise UserError(
                    f"variants {other} and {variant} must test the same subjects in fold {number}; "
                    f"{', '.join(differing[:5])} {'is' if len(differing) == 1 else 'are'} in one "
                    "of them only"
                )


def _is_external(rows: Sequence[Row]) -> bool:
    """Whether the scans are of another cohort than those that trained."""
    said = {row.columns.get("split") == EXTERNAL for row in rows}
    if len(said) > 1:
        other = next(row for row in rows if row.columns.get("split") != EXTERNAL)
        raise UserError(
            f"row {other.number} of {other.file} has the split {other.columns.get('split')!r}, "
            f"others have {EXTERNAL!r}: an external test has a report of its own"
        )
    return said == {True}


def _untested(cohort: Cohort) -> list[str]:
    """A note on classes that no prediction is of."""
    tested = {cohort.subjects[name].label for name in cohort.tested}
    return [
        f"No scan of the class {name} is tested: nothing can be said of it."
        for name in cohort.classes
        if name not in tested
    ]


def _external_sentence(cohort: Cohort) -> str:
    patients = len({subject.patient_id for subject in cohort.used})
    return (
        f"external test: {len(cohort.used)} scans of {patients} patients, of another cohort than "
        "the one that trained"
    )


def _split_sentence(cohort: Cohort) -> str:
    count = len(cohort.folds)
    if count == 1:
        return f"One test part of {len(cohort.folds[0].test)} scans; what trained is not known."
    return (
        f"{count} folds, as the files of predictions number them; the subjects that a fold does "
        "not test are taken for its training part."
    )
