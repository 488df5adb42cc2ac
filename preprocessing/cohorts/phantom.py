"""Synthetic heads in the folders of BraTS 2019 and IXI, as `preprocessing.phantom` writes them."""

from __future__ import annotations

from preprocessing.cohorts.brats_cases import GRADES
from preprocessing.cohorts.brats_ixi import CLASSES, Part, read_both
from preprocessing.cohorts.ixi import HEALTHY
from preprocessing.cohorts.labels import wanted_classes
from preprocessing.cohorts.layout import Key, Layout
from preprocessing.cohorts.scan import Scan
from stfmri.study.config.data import DataConfig
from stfmri.study.errors import UserError

FOLDER = Key("folder", "DIR", "made by python -m preprocessing.phantom --out DIR")
GLIOMAS = "MICCAI_BraTS_2019_Data_Training"


def find(data: DataConfig) -> list[Scan]:
    """All of the gliomas and all of the healthy heads, of the classes asked for."""
    folder = FOLDER.path(data)
    if not folder.is_dir():
        raise UserError(
            f"data.folder: there is no folder {folder}; make the phantoms first: "
            "python -m preprocessing.phantom --out DIR"
        )
    classes = wanted_classes(data, CLASSES, "a phantom cohort")
    brats = Part(folder / GLIOMAS, FOLDER) if set(classes) & set(GRADES) else None
    ixi = Part(folder, FOLDER) if HEALTHY in classes else None
    return read_both(data, brats, ixi, count=0)


LAYOUT = Layout("phantom", "synthetic heads laid out as BraTS 2019 and IXI", (FOLDER,), find)
