"""What results/<sweep>/summary.json says, and whether of the predictions that the sweep has now.

summary.json is written last and holds a hash of the predictions that everything beside it was made
from. A collection that was killed, or that was made when runs were missing, has another hash.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from stfmri.study import predictions
from stfmri.study.errors import UserError
from stfmri.study.files import NotRegularFileError, read_text, safe_name, sha256_of
from stfmri.study.runs import Sweep

REPORT_RECORD = ".written.txt"  # in a folder of a report alone: what was written there
SUMMARY_FILE = "summary.json"
PREDICTIONS_SHA256 = "predictions_sha256"  # its key there
ABSENT = "absent"


def predictions_sha256(sweep: Sweep) -> str:
    """Hash of the predictions of every run that the sweep expects, absent ones included."""
    digest = hashlib.sha256()
    for run in sweep.all_runs:
        try:
            found = sha256_of(run.folder / predictions.FILE_NAME)
        except (FileNotFoundError, NotADirectoryError, NotRegularFileError):
            found = ABSENT
        digest.update(f"{run.name} {found}\n".encode())
    return digest.hexdigest()


def are_current(sweep: Sweep) -> bool:
    """Whether the sweep's results are complete, and made from the predictions as they are now."""
    try:
        summary = json.loads(read_text(sweep.config.results_folder / SUMMARY_FILE))
    except (OSError, ValueError, RecursionError, NotRegularFileError):
        return False
    said = summary.get(PREDICTIONS_SHA256) if isinstance(summary, dict) else None
    return said == predictions_sha256(sweep)


@dataclass(frozen=True)
class Leader:
    """The variant that a sweep's results put first; None where no run had predictions."""

    variant: str | None
    is_complete: bool


def read_leader(results: Path) -> Leader:
    """The leading variant of a collected sweep.

    Args:
        results: `results/<sweep>`.

    Raises:
        UserError: where the sweep was not collected, or its summary is damaged.
    """
    path = results / SUMMARY_FILE
    try:
        content = json.loads(read_text(path))
        leader = content["leader"]
        name = None if leader is None else safe_name(leader, f"{path}: leader")
        return Leader(name, bool(content["complete"]))
    except FileNotFoundError as error:
        raise UserError(
            f"no results at {path}: collect the sweep first, python -m stfmri.collect --sweep "
            f"{results.name}"
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error!r}); collect the sweep again") from error
