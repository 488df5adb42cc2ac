"""The tight field cuts no brain: the largest real ones at hand, and the largest phantoms."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from preprocessing.chain.fields import anchored_field
from preprocessing.chain.transforms import Sampler
from preprocessing.nifti import ScanError
from preprocessing.phantom.cohort import make_cohort
from preprocessing.phantom.config import DEFAULT_PATH
from stfmri.study.compose import compose
from stfmri.study.config.data import PreprocessingConfig

CHOICES = {2.0: "mm2_tight", 4.0: "mm4_tight", 8.0: "mm8_tight"}
# The longest, the widest, and the highest brain of ixi_hh: 190, 150 and 150 mm.
LARGEST = ("IXI039-HH-1261", "IXI335-HH-1906", "IXI527-HH-2376")
SCANS = (
    *(f"ixi_hh/masks/{name}-labels.nii.gz" for name in LARGEST),
    "glioma/UPENN-GBM-00006_GBM_T1ce_stripped_SRI24.nii.gz",
    "glioma/TCGA-DU-7294_LGG_T1ce_stripped_SRI24.nii.gz",
    "heads/colin27_ch2bet_brain_1mm.nii.gz",
)


def tight(spacing: float) -> PreprocessingConfig:
    return compose([f"preprocessing={CHOICES[spacing]}"]).preprocessing


def parts_stored(path: Path) -> dict[float, float]:
    """By voxel size, the brain's volume in the field over that of the mask in the file."""
    image = nib.load(path)
    brain = np.asarray(image.dataobj) > 0
    mm3 = np.count_nonzero(brain) * float(np.prod(nib.affines.voxel_sizes(image.affine)))
    found = {}
    for spacing in CHOICES:
        sampler = Sampler.of(brain, image.affine, tight(spacing))
        field = anchored_field(brain, image.affine, sampler, tight(spacing))
        found[spacing] = float(sampler.share(field.grid).sum()) * spacing**3 / mm3
    return found


@pytest.mark.parametrize("spacing", CHOICES)
def test_the_tight_field_is_that_of_the_plain_choice_but_for_its_width(spacing: float) -> None:
    plain = compose([f"preprocessing=mm{spacing:g}"]).preprocessing
    narrow = tight(spacing)
    assert narrow.spacing_mm == plain.spacing_mm == spacing
    assert narrow.field_mm == (160.0, 192.0, 156.0)
    assert np.prod(narrow.shape) < 0.55 * np.prod(plain.shape)


@pytest.mark.parametrize("scan", SCANS)
def test_the_largest_real_brains_are_stored_whole(real_data: Path, scan: str) -> None:
    parts = parts_stored(real_data / scan)
    assert parts == {spacing: pytest.approx(1, abs=2e-3) for spacing in CHOICES}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Brain masks of phantoms that are as large along each axis as conf/phantom.yaml allows."""
    folder = tmp_path_factory.mktemp("phantom")
    settings = yaml.safe_load(DEFAULT_PATH.read_text(encoding="utf-8"))
    for key in ("scale", "axis_scale"):
        settings["anatomy"][key] = [settings["anatomy"][key][1]] * 2
    (folder / "large.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    counts = {"lgg": 0, "hgg": 1, "healthy": 1}
    path = folder / "large.yaml"
    make_cohort(folder / "c", **counts, spacing=4, seed=1, masks=True, config_path=path)
    return sorted((folder / "c" / "masks").glob("*.nii.gz"))


def test_the_largest_phantoms_are_stored_whole(phantoms: list[Path]) -> None:
    assert len(phantoms) == 2
    for path in phantoms:
        assert parts_stored(path) == {spacing: pytest.approx(1, abs=2e-3) for spacing in CHOICES}


def test_a_brain_too_long_for_the_field_is_rejected_and_not_cut() -> None:
    brain = np.zeros((70, 110, 70), dtype=bool)
    brain[10:60, 5:105, 10:60] = True  # 200 mm from back to front
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    sampler = Sampler.of(brain, affine, tight(2.0))
    with pytest.raises(ScanError, match=r"100×200×100 mm .* field of 160×192×156 mm"):
        anchored_field(brain, affine, sampler, tight(2.0))
