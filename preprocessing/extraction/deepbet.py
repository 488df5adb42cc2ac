"""deepbet, the default: two small networks whose weights are in the package itself.

The first network finds the brain's box in the whole head, the second its voxels in that box: all
within the skull, the fluid between cortex and skull included. Both were trained on T1-weighted
heads of adults. Of T2 and FLAIR its masks are looser (by 8 and 3 % on the one head tried): where
neither T1 nor T1ce is the first contrast, HD-BET and SynthStrip are made for that.

L. Fisch et al., deepbet: Fast brain extraction of T1-weighted MRI using Convolutional Neural
Networks, Comput Biol Med 179:108845 (2024).
"""

from __future__ import annotations

import functools
import warnings
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from preprocessing.extraction.record import Extractor
from preprocessing.extraction.threads import one_thread
from preprocessing.masks import Mask
from preprocessing.nifti import Image, ScanError

if TYPE_CHECKING:
    from deepbet import BrainExtraction


def _available() -> str:
    return "" if find_spec("deepbet") else "needs the package deepbet: pip install deepbet"


def _recipe() -> str:
    return f"deepbet {version('deepbet')}"


def _extract(image: Image) -> Mask:
    # The package turns the head to canonical axes, and the mask back. It keeps the largest
    # connected piece and fills its holes.
    head = nib.Nifti1Image(image.values(), image.affine)
    try:
        with one_thread():
            _, mask, _ = _networks().run(head)
    except (AssertionError, IndexError, ValueError) as error:
        # It says so by an assertion, or finds no largest piece among none.
        raise ScanError("it found nothing like a brain") from error
    return np.asarray(mask.dataobj) > 0


@functools.cache
def _networks() -> BrainExtraction:
    """Both networks, on the CPU; loaded once in each process."""
    from deepbet import BrainExtraction  # brings torch and pandas

    with warnings.catch_warnings():
        # The weights are TorchScript, which PyTorch advises against in new work.
        warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", DeprecationWarning)
        return BrainExtraction(no_gpu=True)


DEEPBET = Extractor(
    name="deepbet",
    label="deepbet",
    available=_available,
    recipe=_recipe,
    extract=_extract,
)
