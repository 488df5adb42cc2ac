"""IXI heads as distributed: `IXI-T1/IXI<id>-<site>-<no>-T1.nii(.gz)`, `IXI-T2/…`, `IXI-PD/…`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from preprocessing.cohorts.contrasts import canonical, channels, pick
from preprocessing.cohorts.folders import nifti_files
from preprocessing.cohorts.labels import wanted_classes, with_table
from preprocessing.cohorts.layout import Key, Layout
from preprocessing.cohorts.scan import Scan, path_columns
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import UserError

FOLDER = Key("folder", "DIR", "the folder that holds IXI-T1 and so on, or IXI*-T1.nii.gz itself")
CONTRASTS = ("t1", "t2", "pd")
DEFAULT = "t1"
HEALTHY = "Healthy"
SUBJECT = re.compile(r"(?P<patient>IXI[^-]*)-(?P<site>[^-]+)-.+")


def find(data: DataConfig) -> list[Scan]:
    """Every subject, healthy unless `data.table` has another class."""
    wanted_classes(data, (HEALTHY,), "IXI")
    scans = read_heads(FOLDER.folder(data), FOLDER, ixi_channels(data), data.label)
    return with_table(scans, data)


def ixi_channels(data: DataConfig) -> dict[str, str]:
    """Which contrast each channel takes of IXI; T1 where none is named."""
    return channels(data, CONTRASTS, DEFAULT, "IXI")


def read_heads(
    folder: Path, key: Key, wanted: Mapping[str, str], label: str, count: int = 0, seed: int = 0
) -> list[Scan]:
    """Every subject, or `count` drawn among those with a T1, whatever the contrasts asked for.

    So the subjects are the same for each of several contrasts that a sweep compares; one that lacks
    a contrast is listed all the same, and rejected for that.

    Args:
        key: what names the folder, for messages.
        wanted: channel → contrast.
        label: the column of the class.
        count: subjects to draw; 0 takes every one.
        seed: of the draw, which depends on the sorted subjects alone.

    Raises:
        UserError: where there are too few files.
    """
    files = dict(sorted(_by_subject(folder).items()))
    if count and any(DEFAULT in found for found in files.values()):
        files = {subject: found for subject, found in files.items() if DEFAULT in found}
    if not any(set(found) & set(wanted.values()) for found in files.values()):
        files = {}
    scans = [_scan(subject, found, wanted, folder, label) for subject, found in files.items()]
    if len(scans) < max(count, 1):
        kinds = " and ".join(f"IXI*-{name.upper()}.nii(.gz)" for name in wanted.values())
        expected = (
            f"but data.ixi_count={count} asks for {count}; data.ixi_count=0 takes all there are"
            if count
            else f"expected {key.what}"
        )
        raise UserError(
            f"data.{key.name}={folder} holds {len(scans)} subjects with {kinds}, {expected}"
        )
    if count:
        drawn = np.random.default_rng(seed).choice(len(scans), size=count, replace=False)
        scans = [scans[index] for index in sorted(drawn)]
    return scans


def _by_subject(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """Subject → contrast → files, of the folder itself and of its IXI-T1, IXI-T2 and IXI-PD."""
    files: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for place in (folder, *(folder / f"IXI-{name.upper()}" for name in CONTRASTS)):
        if not place.is_dir():
            continue
        for stem, path in nifti_files(place).items():
            subject, _, name = stem.rpartition("-")
            if subject.startswith("IXI") and canonical(name) in CONTRASTS:
                files[subject][canonical(name)].append(path)
    return files


def _scan(
    subject: str,
    files: Mapping[str, list[Path]],
    wanted: Mapping[str, str],
    folder: Path,
    label: str,
) -> Scan:
    paths, fault = pick(files, wanted, folder)
    name = SUBJECT.fullmatch(subject)
    return Scan(
        subject_id=subject,
        patient_id=name["patient"] if name else subject,
        source=f"IXI-{name['site']}" if name else "IXI-unknown",
        label=HEALTHY,
        paths=paths,
        columns={label: HEALTHY, **path_columns(paths)},
        fault=fault,
    )


LAYOUT = Layout("ixi", "IXI: IXI-T1/, IXI-T2/, IXI-PD/, or the files of one", (FOLDER,), find)
