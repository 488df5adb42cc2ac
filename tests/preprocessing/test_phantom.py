"""The phantom cohort: layout, reproducibility, anatomy and lesions."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from scipy import ndimage

from preprocessing.brain import brain_mask
from preprocessing.nifti import Image, parse
from preprocessing.phantom import __main__
from preprocessing.phantom import config as phantom_config
from preprocessing.phantom.cohort import make_cohort
from preprocessing.phantom.layout import brats_layout, ixi_layout, to_nifti
from preprocessing.phantom.plan import plan
from stfmri.study.errors import UserError

COUNTS = {"lgg": 3, "hgg": 3, "healthy": 2}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight phantoms at 4 mm, with masks."""
    folder = tmp_path_factory.mktemp("phantom") / "cohort"
    make_cohort(folder, **COUNTS, spacing=4, seed=5, masks=True)
    return folder


def images(cohort: Path, pattern: str) -> list[Path]:
    return sorted(cohort.glob(pattern))


def load(path: Path) -> tuple[nib.Nifti1Image, np.ndarray]:
    image = nib.load(path)
    return image, np.asarray(image.dataobj)


def truth(cohort: Path, path: Path) -> np.ndarray:
    return load(cohort / "masks" / path.name)[1]


def config():
    return phantom_config.load()


def test_files_lie_and_are_named_as_in_brats_and_ixi(cohort: Path) -> None:
    for grade in ("LGG", "HGG"):
        paths = images(cohort, f"MICCAI_BraTS_2019_Data_Training/{grade}/*/*_t1ce.nii.gz")
        assert len(paths) == 3
        for path in paths:
            assert re.fullmatch(r"BraTS19_[A-Z0-9]+_\d+_1", path.parent.name)
            assert path.name == f"{path.parent.name}_t1ce.nii.gz"
    names = [path.name for path in images(cohort, "IXI-T1/*")]
    assert len(names) == 2
    assert all(re.fullmatch(r"IXI\d{3}-(Guys|HH|IOP)-\d{4}-T1\.nii\.gz", name) for name in names)


def test_orientation_and_extent_are_those_of_the_real_data(cohort: Path) -> None:
    for pattern, axes, extent in (
        ("MICCAI*/*/*/*.nii.gz", ("L", "P", "S"), (240, 240, 155)),
        ("IXI-T1/*.nii.gz", ("P", "S", "R"), (240, 240, 180)),
    ):
        image, voxels = load(images(cohort, pattern)[0])
        assert nib.aff2axcodes(image.affine) == axes
        assert np.all(np.array(image.shape) * 4 >= extent)
        assert np.all(np.array(image.shape) * 4 < np.array(extent) + 4)
        assert voxels.dtype == np.int16
        assert image.header["sform_code"] == 1
        assert image.header["qform_code"] == 1
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)


def test_full_size_grids_equal_those_of_the_real_scans(real_data: Path) -> None:
    real = nib.load(next((real_data / "glioma").glob("*_T1ce_*.nii.gz")))
    layout = brats_layout(spacing=2, full_size=True)
    grid = to_nifti(np.zeros(layout.voxels, np.int16), layout)
    assert grid.shape == real.shape
    np.testing.assert_allclose(grid.affine, real.affine, atol=1e-6)

    layout = ixi_layout(spacing=2, full_size=True)
    grid = to_nifti(np.zeros(layout.voxels, np.int16), layout)
    assert grid.shape == (256, 256, 150)
    np.testing.assert_allclose(grid.header.get_zooms(), (0.9375, 0.9375, 1.2))


def test_tumour_volumes_are_zero_outside_the_brain_and_heads_are_not(cohort: Path) -> None:
    for path in images(cohort, "MICCAI*/*/*/*.nii.gz"):
        voxels, mask = load(path)[1], truth(cohort, path)
        assert not voxels[mask == 0].any()
        assert (voxels[mask > 0] > 0).mean() > 0.99
    for path in images(cohort, "IXI-T1/*.nii.gz"):
        voxels, mask = load(path)[1], truth(cohort, path)
        white = np.percentile(voxels[mask > 0], 80)
        around = ndimage.binary_dilation(mask > 0, iterations=5) & (mask == 0)
        assert voxels[around].max() > 0.6 * white, "scalp is bright"


def test_brain_volumes_are_human_and_alike_in_all_classes(cohort: Path) -> None:
    for path in images(cohort, "masks/*"):
        litres = (load(path)[1] > 0).sum() * 4.0**3 / 1e6
        assert 0.95 < litres < 1.75


def test_skull_is_a_dark_layer_between_brain_and_bright_scalp(cohort: Path) -> None:
    for path in images(cohort, "IXI-T1/*.nii.gz"):
        voxels, mask = load(path)[1].astype(float), truth(cohort, path) > 0
        outside_mm = 4 * ndimage.distance_transform_edt(~mask)
        # The upper half of the head: axis 1 of the file runs to superior.
        upper = np.zeros(mask.shape, bool)
        upper[:, int(np.argwhere(mask)[:, 1].mean()) :] = True
        profile = [
            voxels[upper & (outside_mm >= low) & (outside_mm < low + 4)].mean()
            for low in (4, 8, 12, 16, 20, 40)
        ]
        brain = voxels[mask].mean()
        assert min(profile[:3]) < 0.45 * brain
        assert max(profile[1:5]) > 1.3 * min(profile[:3])
        assert profile[-1] < 0.1 * brain


def test_low_grade_is_darker_than_white_matter_and_high_grade_has_a_bright_rim(
    cohort: Path,
) -> None:
    for path in images(cohort, "MICCAI*/LGG/*/*.nii.gz"):
        voxels, mask = load(path)[1], truth(cohort, path)
        assert set(np.unique(mask)) == {0, 1, 3}
        assert np.median(voxels[mask == 3]) < 0.85 * np.percentile(voxels[mask == 1], 75)
    for path in images(cohort, "MICCAI*/HGG/*/*.nii.gz"):
        voxels, mask = load(path)[1], truth(cohort, path)
        assert set(np.unique(mask)) >= {0, 1, 2, 4}
        white = np.percentile(voxels[mask == 1], 75)
        assert np.percentile(voxels[mask == 4], 90) > white
        assert np.median(voxels[mask == 2]) < white
        if (mask == 3).sum() > 20:
            assert np.median(voxels[mask == 3]) < 0.8 * np.median(voxels[mask == 4])


def test_healthy_brains_have_no_lesion(cohort: Path) -> None:
    for path in images(cohort, "IXI-T1/*.nii.gz"):
        assert set(np.unique(truth(cohort, path))) == {0, 1}


def test_longest_diameter_follows_the_configured_range(cohort: Path) -> None:
    lowest, highest = config().lesion.diameter_mm
    for path in images(cohort, "MICCAI*/*/*/*.nii.gz"):
        points = 4.0 * np.argwhere(truth(cohort, path) >= 3)
        longest = np.linalg.norm(points[:, None] - points[None], axis=-1).max()
        # Voxel centres lie up to a voxel inside the surface, and the surface is ragged by some mm.
        assert lowest - 8 < longest < highest + 8


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_processes(
    cohort: Path, tmp_path: Path
) -> None:
    make_cohort(tmp_path / "again", **COUNTS, spacing=4, seed=5, jobs=2)
    for path in images(cohort, "[IM]*/**/*.nii.gz"):
        assert (tmp_path / "again" / path.relative_to(cohort)).read_bytes() == path.read_bytes()


def test_another_seed_gives_another_anatomy(cohort: Path, tmp_path: Path) -> None:
    make_cohort(tmp_path / "other", lgg=0, hgg=0, healthy=1, spacing=4, seed=6)
    one = load(images(cohort, "IXI-T1/*")[0])[1]
    other = load(images(tmp_path / "other", "IXI-T1/*")[0])[1]
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.98


def test_a_second_call_writes_only_what_is_missing(tmp_path: Path) -> None:
    arguments = {"lgg": 1, "hgg": 1, "healthy": 0, "spacing": 8}
    low, high = make_cohort(tmp_path / "c", **arguments)
    kept, lost = low.stat().st_mtime_ns, high.read_bytes()
    high.unlink()
    make_cohort(tmp_path / "c", **arguments)
    assert low.stat().st_mtime_ns == kept
    assert high.read_bytes() == lost


def test_other_settings_in_the_same_folder_are_refused_by_name(cohort: Path) -> None:
    with pytest.raises(UserError, match=r"seed is 5 there, 6 here"):
        make_cohort(cohort, **COUNTS, spacing=4, seed=6)
    with pytest.raises(UserError, match=r"spacing is 4.0 there, 8.0 here"):
        make_cohort(cohort, **COUNTS, spacing=8, seed=5)


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files"):
        make_cohort(tmp_path, **COUNTS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_settings_on_disk_hold_every_range(cohort: Path) -> None:
    settings = json.loads((cohort / "phantom.json").read_text())
    assert settings["seed"] == 5
    assert settings["config"]["lesion"]["diameter_mm"] == [15.0, 45.0]


def test_patients_are_unique() -> None:
    subjects = plan(200, 300, 100, config(), 0.5, seed=1)
    patients = [subject.path.name.split("_")[2] for subject in subjects[:500]]
    assert len(set(patients)) == 500
    assert len({subject.path for subject in subjects}) == 600


def centres(confounding: float, label: str) -> Counter:
    subjects = plan(60, 60, 0, config(), confounding, seed=3)
    return Counter(subject.centre for subject in subjects if subject.label == label)


def test_unconfounded_centres_say_nothing_about_the_grade() -> None:
    low, high = centres(0, "LGG"), centres(0, "HGG")
    assert len(low) > 3
    assert all(abs(low[name] - high[name]) <= 1 for name in {*low, *high})


def test_fully_confounded_centres_give_the_grade_away_as_in_brats_2019() -> None:
    low, high = set(centres(1, "LGG")), set(centres(1, "HGG"))
    assert low & high <= {"2013", "TMC"}
    assert {"TCIA10", "TCIA13"} <= low
    assert {"CBICA", "TCIA01", "TCIA02"} <= high


# The demonstration uses heads of 4 mm.
@pytest.mark.parametrize("spacing", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_brain_extraction_finds_the_brain_of_a_phantom_head(tmp_path: Path, spacing: float) -> None:
    (path,) = make_cohort(tmp_path / "c", lgg=0, hgg=0, healthy=1, spacing=spacing, masks=True)
    image: Image = parse(path.read_bytes())
    found, true = brain_mask(image, "deepbet"), truth(tmp_path / "c", path) > 0
    assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.95


def write_config(folder: Path, change) -> Path:
    content = yaml.safe_load(phantom_config.DEFAULT_PATH.read_text())
    change(content)
    path = folder / "ranges.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["lesion"].update(size=3), r"unknown key lesion\.size .* diameter_mm"),
        (lambda c: c.update(tumour={}), r"unknown key tumour .* lesion"),
        (lambda c: c["hgg"].pop("rim_mm"), r"lacks the key hgg\.rim_mm"),
        (lambda c: c["t1"].update(grey=[0.9, 0.2]), r"t1\.grey .* must not fall"),
        (lambda c: c["t1"].update(grey=0.9), r"t1\.grey .* \[lowest, highest\]"),
        (lambda c: c["centres"].update(lgg={"A_B": 1}), r"letters and digits"),
        (lambda c: c.update(confounding=2), r"0 to 1; found 2"),
    ],
)
def test_a_wrong_configuration_is_refused_by_key(tmp_path: Path, change, message: str) -> None:
    with pytest.raises(UserError, match=message):
        phantom_config.load(write_config(tmp_path, change))


def test_a_range_in_the_file_reaches_the_voxels(tmp_path: Path) -> None:
    path = write_config(tmp_path, lambda c: c["lesion"].update(diameter_mm=[44.0, 45.0]))
    make_cohort(tmp_path / "c", lgg=1, hgg=0, healthy=0, spacing=4, masks=True, config_path=path)
    (mask,) = images(tmp_path / "c", "masks/*")
    assert (load(mask)[1] == 3).sum() * 4.0**3 > 8000, "a 44 mm lesion holds more than 8 ml"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lgg", "-1"], "--lgg must be 0 or more; found -1"),
        (["--spacing", "0"], "--spacing must be 0.5 to 10 mm; found 0.0"),
        (["--confounding", "1.5"], "--confounding must be 0 to 1; found 1.5"),
        (["--jobs", "0"], "--jobs must be 1 or more; found 0"),
    ],
)
def test_a_wrong_call_exits_2_and_says_what_was_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    assert __main__.main(["--out", str(tmp_path / "c"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
