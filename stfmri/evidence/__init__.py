"""What may be concluded: baselines, metrics, statistics, tables, figures and the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def report_predictions(
    files: Sequence[Path],
    *,
    out: Path,
    cohort: Path | None = None,
    label: str = "label",
    classes: Sequence[str] = (),
    subgroups: Sequence[str] = (),
    name: str = "predictions",
    variant: str = "",
    notes: Sequence[str] = (),
) -> Path:
    """Write the report of predictions that any tool made.

    Args:
        files: CSV files of predictions; `stfmri.evidence.imported` lists their columns.
        out: the folder to write to.
        cohort: CSV with further columns of the subjects.
        label: the column of the true class.
        classes: their order; empty: as in the first file.
        subgroups: columns whose groups are scored one by one.
        name: title of the report.
        variant: whose predictions they are, where no column says; empty: by the file's name.
        notes: what a reader should know of the scans, a sentence each.

    Returns:
        Path of report.html.

    Raises:
        UserError: naming file and row, where a file is no such table or contradicts another.
    """
    # Matplotlib and SciPy take seconds to import, and most of this package does without them.
    from stfmri.evidence.imported import read_evidence
    from stfmri.evidence.summarise import summarise
    from stfmri.evidence.write import write_results
    from stfmri.study.results import REPORT_RECORD
    from stfmri.study.splits import require_columns

    evidence = read_evidence(
        files,
        cohort_file=cohort,
        label=label,
        classes=classes,
        name=name,
        variant=variant,
        notes=notes,
    )
    require_columns(evidence.cohort.used, subgroups, "subgroups")
    results = summarise(evidence, subgroups)
    return write_results(results, out, out / REPORT_RECORD)
