"""Every layout there is, and the one way to list a cohort's scans."""

from __future__ import annotations

from collections.abc import Sequence

from preprocessing.cohorts import (
    bids,
    brats2019,
    brats2020,
    brats2021,
    brats_ixi,
    ixi,
    phantom,
    table,
    upenn,
)
from preprocessing.cohorts.checks import refuse_control_characters, refuse_duplicates
from preprocessing.cohorts.exclusions import without_excluded
from preprocessing.cohorts.layout import Layout
from preprocessing.cohorts.scan import Scan
from stfmri.study.config.checks import one_of
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.files import safe_name
from stfmri.study.shards import INDEX_COLUMNS

LAYOUTS = {
    module.LAYOUT.name: module.LAYOUT
    for module in (
        table,
        bids,
        brats2019,
        brats2020,
        brats2021,
        upenn,
        ixi,
        brats_ixi,
        phantom,
    )
}


def layout_of(data: DataConfig) -> Layout:
    """The layout that `data.kind` names.

    Raises:
        ConfigError: where there is none of that name.
    """
    one_of("data.kind", data.kind, LAYOUTS)
    return LAYOUTS[data.kind]


def find_scans(data: DataConfig) -> list[Scan]:
    """List the cohort's scans, in a fixed order; no scan is opened.

    A subject that cannot be used is listed with a fault, so that it ends up among the rejected
    scans rather than vanishing.

    Raises:
        UserError: for a missing folder or table, an empty cohort, an unknown class, a subject that
            occurs twice, a name with control characters, or a table that breaks its contract.
    """
    layout = layout_of(data)
    safe_name(data.label, "data.label, which becomes part of the split file's name,")
    if data.label in INDEX_COLUMNS:
        raise UserError(
            f"data.label={data.label} is a column of the cache's own index; copy the class to a "
            "column of another name"
        )
    scans = layout.find(data)
    for scan in scans:
        names = [scan.subject_id, scan.patient_id, scan.source, scan.label]
        refuse_control_characters(f"the cohort {data.name}", [*names, *scan.paths.values()])
    refuse_duplicates(scans, [str(scan.path) for scan in scans])
    scans = without_excluded(scans, data)
    _check_classes(scans, data)
    return scans


def _check_classes(scans: Sequence[Scan], data: DataConfig) -> None:
    """Refuse `data.classes` where the scans have others, or lack one.

    Raises:
        ConfigError: naming the classes.
    """
    found = sorted({scan.label for scan in scans if scan.label and not scan.excluded})
    unknown = [name for name in found if name not in data.classes]
    if data.classes and unknown:
        raise ConfigError(
            f"{data.table or data.folder}: column {data.label} holds classes that data.classes "
            f"does not name: {', '.join(unknown)} (named: {', '.join(data.classes)})"
        )
    absent = [name for name in data.classes if name not in found]
    if absent:
        raise ConfigError(
            f"data.classes names {', '.join(absent)}, but no scan of the cohort {data.name} has "
            f"that class (found: {', '.join(found) or 'none'})"
        )
