"""A report for predictions that another tool made.

    python -m stfmri.evidence monai/predictions.csv sklearn.csv --cohort cohort.csv --out report

writes the same tables, figures, summary.json and report.html as a collected sweep.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from stfmri.study.errors import exit_on_error
from stfmri.study.files import absolute, safe_name

EPILOG = """\
Columns of a file of predictions:
  subject_id      one test scan
  label           its true class (another name with --label; may be in the cohort table instead)
  prob_<class>    a probability for each class, each row summing to 1
  fold            optional: which fold tested it, from 0
  variant         optional: whose prediction it is; default: the file's name
  patient_id      optional: scans of one patient are kept together
  source          optional: centre or study; gives the source-only baseline
  split           optional: external in every row where another cohort trained

The predictions.csv of this toolkit's own runs are such files. docs/predictions.md shows how to
write them from MONAI, scikit-learn and nnU-Net.

examples:
  python -m stfmri.evidence predictions.csv
  python -m stfmri.evidence resnet.csv densenet.csv --cohort cohort.csv --label age_group --out age

Exit status: 0 written; 1 the results could not be written; 2 the call or a file was wrong."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m stfmri.evidence",
        description="Turn anyone's test predictions into tables, figures, summary.json and "
        "report.html: intervals, tests, baselines, subgroups.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("files", nargs="+", type=Path, metavar="FILE", help="CSV of predictions")
    made.add_argument("--cohort", type=Path, metavar="CSV", help="columns of the subjects")
    made.add_argument("--label", default="label", help="column of the true class (default: label)")
    made.add_argument(
        "--classes", default="", help="order of the classes, as A,B,C (default: as in the file)"
    )
    made.add_argument("--subgroups", default="", help="columns to score by group, as sex,scanner")
    made.add_argument(
        "--name", default="predictions", help="what the report is called, without blanks"
    )
    made.add_argument(
        "--out", type=Path, default=Path("report"), help="folder to write to (default: report)"
    )
    return made


@exit_on_error
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report that the command line asks for."""
    options = parser().parse_args(arguments)
    console = Console(stderr=True)
    # Matplotlib and SciPy take seconds to import: --help and a wrong name come first.
    from stfmri.evidence import report_predictions

    with console.status("reading, bootstrap over patients, tables, figures"):
        page = report_predictions(
            [absolute(file) for file in options.files],
            out=absolute(options.out),
            cohort=None if options.cohort is None else absolute(options.cohort),
            label=options.label,
            classes=_listed(options.classes),
            subgroups=_listed(options.subgroups),
            name=safe_name(options.name, "--name"),
        )
    console.print(f"written: {page}", soft_wrap=True, markup=False, highlight=False)
    return 0


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


if __name__ == "__main__":
    sys.exit(main())
