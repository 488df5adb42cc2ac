"""The paper's cohort: gliomas of BraTS (T1ce), graded, and healthy heads of IXI (T1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from preprocessing.cohorts import brats2019, brats2020, brats_cases
from preprocessing.cohorts import ixi as ixi_heads
from preprocessing.cohorts.brats_cases import GRADES
from preprocessing.cohorts.contrasts import CONTRASTS, channels
from preprocessing.cohorts.ixi import HEALTHY, read_heads
from preprocessing.cohorts.labels import wanted_classes, with_table
from preprocessing.cohorts.layout import Key, Layout
from preprocessing.cohorts.scan import Scan
from stfmri.study.config.data import DataConfig

CLASSES = (*GRADES, HEALTHY)
BRATS = Key("brats", "DIR", "the folder that holds HGG and LGG, or that of BraTS 2020")
IXI = Key("ixi", "DIR", "the folder that holds IXI*-T1.nii.gz, or IXI-T1 and IXI-T2")


@dataclass(frozen=True)
class Part:
    """One of the two data sets: its folder, and what names that in messages."""

    folder: Path
    key: Key


def find(data: DataConfig) -> list[Scan]:
    """Scans of the classes asked for; a folder of which none is wanted need not be there."""
    classes = wanted_classes(data, CLASSES, "BraTS and IXI")
    brats = Part(BRATS.folder(data), BRATS) if set(classes) & set(GRADES) else None
    ixi = Part(IXI.folder(data), IXI) if HEALTHY in classes else None
    return read_both(data, brats, ixi, data.ixi_count)


def read_both(data: DataConfig, brats: Part | None, ixi: Part | None, count: int) -> list[Scan]:
    """Gliomas of the wanted grades, then healthy heads.

    Args:
        brats: None for no gliomas.
        ixi: None for no healthy heads.
        count: healthy heads to draw; 0 takes all.

    Raises:
        ConfigError: where `data.contrasts` names one that the gliomas or the heads do not have,
            so that every scan of a class would lack it.
    """
    held = _held(data, brats, ixi)
    scans = []
    if brats:
        wanted = channels(data, held, brats_cases.DEFAULT, "this cohort")
        layout = brats2020 if brats2020.is_layout_of(brats.folder) else brats2019
        classes = wanted_classes(data, CLASSES, "BraTS and IXI")
        found = layout.read_cases(brats.folder, brats.key, wanted, data.label)
        scans += [scan for scan in found if scan.label in (*classes, "")]
    if ixi:
        wanted = channels(data, held, ixi_heads.DEFAULT, "this cohort")
        scans += read_heads(ixi.folder, ixi.key, wanted, data.label, count, data.ixi_seed)
    return with_table(scans, data)


def _held(data: DataConfig, brats: Part | None, ixi: Part | None) -> list[str]:
    """The contrasts that may be asked for, in the order of BraTS."""
    parts = [brats_cases.CONTRASTS] * bool(brats) + [ixi_heads.CONTRASTS] * bool(ixi)
    enough = any if data.missing == "zeros" else all
    return [name for name in CONTRASTS if enough(name in part for part in parts)]


LAYOUT = Layout("brats_ixi", "the paper's: BraTS T1ce and IXI T1", (BRATS, IXI), find)
