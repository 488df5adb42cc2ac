"""Find the scans of a cohort: data sets as distributed, BIDS, a table, or phantoms.

Every finder returns the same thing, a list of `Scan`; nothing after this package knows where a
cohort came from. A new layout is one file with a `LAYOUT` here, its line in `find.py`, and one YAML
file in `conf/data/`.
"""

from preprocessing.cohorts.find import LAYOUTS, find_scans, layout_of
from preprocessing.cohorts.layout import Key, Layout
from preprocessing.cohorts.scan import Scan
from stfmri.study.config.data import SCAN

__all__ = [
    "LAYOUTS",
    "SCAN",
    "Key",
    "Layout",
    "Scan",
    "find_scans",
    "layout_of",
]
