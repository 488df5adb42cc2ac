"""Quality control: numbers, warnings, pictures and a viewer of every subject, in `qc.html`."""

from preprocessing.qc.findings import warn
from preprocessing.qc.measures import measure
from preprocessing.qc.page import write
from preprocessing.qc.records import keep, measures_file, read_measures

__all__ = ["keep", "measure", "measures_file", "read_measures", "warn", "write"]
