"""Quality control: numbers, warnings, pictures and a viewer of every subject, in `qc.html`."""

from preprocessing.qc.findings import warn, warn_alone
from preprocessing.qc.measures import columns, measure
from preprocessing.qc.page import write
from preprocessing.qc.records import keep, measures_file, read_measures

__all__ = [
    "columns",
    "keep",
    "measure",
    "measures_file",
    "read_measures",
    "warn",
    "warn_alone",
    "write",
]
