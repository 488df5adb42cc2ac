"""Phantoms with several contrasts: tissues, shared anatomy, files, misalignment."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from preprocessing.phantom import __main__
from preprocessing.phantom import config as phantom_config
from preprocessing.phantom.atlas import load_atlas
from preprocessing.phantom.cohort import make_cohort
from preprocessing.phantom.contrasts import CONTRASTS
from preprocessing.phantom.glioma import CORE, OEDEMA, RIM
from preprocessing.phantom.image import Person, draw_person, scan_person
from preprocessing.phantom.layout import brats_layout, ixi_layout
from preprocessing.phantom.plan import plan
from stfmri.study.errors import UserError

FOUR = ["t1", "t1ce", "t2", "flair"]
# Voxels of the cohort below as written when T1ce and T1 were the only contrasts.
VERSION_1 = Path(__file__).with_name("phantom_version_1.npz")
SMALL = {"lgg": 1, "hgg": 1, "healthy": 1, "spacing": 8, "seed": 5, "masks": True}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three phantoms at 8 mm, four contrasts."""
    folder = tmp_path_factory.mktemp("contrasts") / "cohort"
    make_cohort(folder, **SMALL, contrasts=FOUR)
    return folder


@pytest.fixture(scope="module")
def people() -> dict[str, tuple[Person, dict[str, np.ndarray]]]:
    """One subject of each class at 4 mm: the anatomy, and what each contrast shows of it."""
    config, atlas = phantom_config.load(), load_atlas(2)
    found = {}
    for subject in plan(1, 1, 1, config, 0.0, seed=3):
        healthy = subject.label == "Healthy"
        layout = ixi_layout(4, False) if healthy else brats_layout(4, False)
        person = draw_person(subject, config, atlas, layout, seed=3)
        images = {}
        for name in ("t1", "t2") if healthy else FOUR:
            stored = scan_person(person, CONTRASTS[name], config, atlas, seed=3).image
            images[name] = nib.as_closest_canonical(stored).get_fdata()
        found[subject.label] = person, images
    return found


def tissues(person: Person) -> dict[str, np.ndarray]:
    """Voxels that are clearly one tissue and part of no lesion."""
    healthy = person.labels == 1
    if (person.labels > 1).any():
        healthy &= ~ndimage.binary_dilation(person.labels > 1, iterations=3)
    solid, white = person.tissue.solid, person.tissue.white
    return {
        "white": healthy & (white > 0.98),
        "grey": healthy & (solid > 0.98) & (white < 0.02),
        "fluid": ndimage.binary_erosion(person.labels > 0) & healthy & (solid < 0.02),
    }


def medians(person: Person, image: np.ndarray) -> dict[str, float]:
    found = {name: float(np.median(image[where])) for name, where in tissues(person).items()}
    parts = {"oedema": OEDEMA, "core": CORE, "rim": RIM}
    for name, value in parts.items():
        if (person.labels == value).any():
            found[name] = float(np.median(image[person.labels == value]))
    return {name: value / found["white"] for name, value in found.items()}


# Relaxation times: water-rich tissue has long T1 (dark on T1 weighting) and long T2 (bright on T2
# weighting); FLAIR is T2-weighted with free fluid nulled; the agent shortens T1 where the barrier
# leaks.
@pytest.mark.parametrize("label", ["LGG", "HGG", "Healthy"])
def test_tissues_are_ordered_as_their_relaxation_times_say(people, label: str) -> None:
    person, images = people[label]
    for name in {"t1", "t1ce"} & images.keys():
        found = medians(person, images[name])
        assert found["fluid"] < found["grey"] - 0.2 < found["white"] - 0.2
    found = medians(person, images["t2"])
    assert found["fluid"] > 1.8 * found["grey"] > 1.8 * found["white"]
    if "flair" in images:
        found = medians(person, images["flair"])
        assert found["fluid"] < 0.6 * found["white"]
        assert 1.0 < found["grey"] < 1.4


def test_a_low_grade_tumour_is_dark_on_t1_bright_on_t2_and_flair_and_does_not_enhance(
    people,
) -> None:
    person, images = people["LGG"]
    found = {name: medians(person, image) for name, image in images.items()}
    assert found["t1"]["core"] < 0.75
    assert found["t1ce"]["core"] < 0.75
    assert 1.4 < found["t2"]["core"] < found["t2"]["fluid"]
    edge = (person.labels == CORE) & ~ndimage.binary_erosion(person.labels == CORE, iterations=1)
    white = np.median(images["flair"][tissues(person)["white"]])
    assert np.median(images["flair"][edge]) > 1.1 * white


def test_only_the_rim_of_a_high_grade_tumour_enhances_and_only_with_agent(people) -> None:
    person, images = people["HGG"]
    found = {name: medians(person, image) for name, image in images.items()}
    assert found["t1ce"]["rim"] > 1.0 > found["t1ce"]["oedema"]
    assert found["t1"]["rim"] < 0.85
    assert found["t1"]["oedema"] < 0.95
    for name in ("t2", "flair"):
        assert found[name]["oedema"] > 1.3
    assert found["t1"]["core"] < 0.65
    assert found["t2"]["core"] > 1.7
    assert found["flair"]["core"] < found["flair"]["oedema"]


def test_the_scalp_of_a_healthy_head_is_bright_on_t1_and_t2_and_eyes_only_on_t2(people) -> None:
    person, images = people["Healthy"]
    shell = person.shell
    assert shell is not None
    scalp = (shell.depth > shell.outer_table) & (shell.surface < -3) & (shell.muscle_mm < 1)
    upper = person.tissue.points_mni[2] > 20
    bone = (abs(shell.across - 0.1) < 0.1) & upper
    x, y, z = person.tissue.points_mni
    eyes = np.hypot(np.hypot(abs(x) - 33, y - 65), z + 36) < 7
    for name, image in images.items():
        white = np.median(image[tissues(person)["white"]])
        assert np.median(image[scalp & upper]) > 0.6 * white
        assert np.median(image[bone]) < np.median(image[scalp & upper])
        bright = np.median(image[eyes]) > 1.5 * white
        assert bright == (name == "t2")


def test_the_default_cohort_has_the_voxels_of_version_1(tmp_path: Path) -> None:
    paths = make_cohort(tmp_path / "c", **SMALL)
    with np.load(VERSION_1) as stored:
        assert len(stored) == 2 * len(paths)
        for path in paths:
            for name, file in (
                (path.name, path),
                (f"masks/{path.name}", tmp_path / "c" / "masks" / path.name),
            ):
                change = np.abs(nib.load(file).get_fdata() - stored[name])
                # Zero on most processors; another matrix product's rounding may move a voxel by 1.
                assert change.max() <= 1
                assert np.count_nonzero(change) <= 3
    settings = json.loads((tmp_path / "c" / "phantom.json").read_text())
    assert not {"contrasts", "misalign"} & settings.keys()
    assert "further" not in settings["config"], "folders from before are gone on with"


def test_files_of_each_contrast_are_named_as_in_brats_and_ixi(small: Path) -> None:
    for grade in ("LGG", "HGG"):
        (case,) = (small / "MICCAI_BraTS_2019_Data_Training" / grade).iterdir()
        names = sorted(path.name for path in case.iterdir())
        assert names == sorted(f"{case.name}_{contrast}.nii.gz" for contrast in FOUR)
    (t1,), (t2,) = (sorted(small.glob(f"IXI-{name}/*")) for name in ("T1", "T2"))
    assert t2.name == t1.name.replace("-T1.nii.gz", "-T2.nii.gz")
    assert {path.name for path in small.iterdir()} == {
        "IXI-T1",
        "IXI-T2",
        "MICCAI_BraTS_2019_Data_Training",
        "masks",
        "phantom.json",
    }


def test_a_contrast_has_the_same_voxels_whichever_others_are_written_and_in_how_many_processes(
    small: Path, tmp_path: Path
) -> None:
    with np.load(VERSION_1) as stored:
        for path in (*small.glob("MICCAI*/*/*/*_t1ce.nii.gz"), *small.glob("IXI-T1/*")):
            assert np.abs(nib.load(path).get_fdata() - stored[path.name]).max() <= 1
    for path in make_cohort(tmp_path / "c", **SMALL, contrasts=["t2"], jobs=2):
        assert path.read_bytes() == (small / path.relative_to(tmp_path / "c")).read_bytes()


def test_all_contrasts_of_a_subject_lie_on_one_grid_and_share_the_mask(small: Path) -> None:
    (case,) = small.glob("MICCAI*/HGG/*")
    scans = [nib.load(path) for path in case.iterdir()]
    masks = [nib.load(path).get_fdata() for path in small.glob(f"masks/{case.name}_*")]
    assert len(scans) == len(masks) == 4
    for image, mask in zip(scans, masks, strict=True):
        np.testing.assert_array_equal(mask, masks[0])
        np.testing.assert_array_equal(image.affine, scans[0].affine)
        assert not image.get_fdata()[mask == 0].any()
    assert {OEDEMA, CORE, RIM} & set(np.unique(masks[0]))


def test_each_contrast_has_a_scanner_draw_of_its_own(people) -> None:
    person, images = people["HGG"]
    white = tissues(person)["white"]
    levels = [np.median(image[white]) for image in images.values()]
    assert len(set(levels)) == 4
    ratio = images["flair"][white] / images["t2"][white]
    assert ratio.std() / ratio.mean() > 0.02, "noise and shading differ"


def test_only_the_missing_contrast_is_written_again(tmp_path: Path) -> None:
    asked = {"lgg": 1, "hgg": 0, "spacing": 8, "contrasts": ["t1ce", "flair"]}
    t1ce, flair = make_cohort(tmp_path / "c", **asked)
    kept, lost = t1ce.stat().st_mtime_ns, flair.read_bytes()
    flair.unlink()
    make_cohort(tmp_path / "c", **asked)
    assert t1ce.stat().st_mtime_ns == kept
    assert flair.read_bytes() == lost


def test_other_contrasts_in_the_same_folder_are_refused_by_name(small: Path) -> None:
    with pytest.raises(UserError, match=r"contrasts is \['t1', .*\] there, \['t2'\] here"):
        make_cohort(small, **SMALL, contrasts=["t2"])
    with pytest.raises(UserError, match=r"contrasts is .* there, None here"):
        make_cohort(small, **SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--contrasts", "pd"], "--contrasts knows t1, t1ce, t2, flair; found 'pd'"),
        (["--contrasts", "t1", "t1"], "must name each contrast once; found t1 t1"),
        (["--contrasts", "t1ce", "flair", "--healthy", "3"], "leave them out with --healthy 0"),
        (["--contrasts", "t1", "t2", "--misalign", "-1"], "--misalign must be 0 to 30 mm"),
        (["--misalign", "3"], "name two or more with --contrasts"),
    ],
)
def test_a_wrong_call_exits_2_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    assert __main__.main(["--out", str(tmp_path / "c"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_a_recorded_movement_takes_the_truth_of_one_scan_onto_the_other(tmp_path: Path) -> None:
    reach = 8.0
    first, t2 = make_cohort(
        tmp_path / "c",
        lgg=0,
        healthy=0,
        hgg=1,
        spacing=4,
        contrasts=["t1ce", "t2"],
        misalign=reach,
        masks=True,
        seed=4,
    )
    record = json.loads((tmp_path / "c" / "misalignment.json").read_text())
    assert list(record) == [t2.relative_to(tmp_path / "c").as_posix()]
    matrix = np.array(record[t2.relative_to(tmp_path / "c").as_posix()])
    turn = matrix[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    degrees = np.degrees(np.arccos((np.trace(turn) - 1) / 2))
    assert 0 < degrees <= reach

    fixed, moved = (nib.load(tmp_path / "c" / "masks" / path.name) for path in (first, t2))
    assert nib.aff2axcodes(fixed.affine) == ("L", "P", "S")
    assert nib.aff2axcodes(moved.affine) == ("L", "A", "S")
    np.testing.assert_allclose(moved.header.get_zooms(), (4, 4, 5))

    def overlap(transform: np.ndarray) -> float:
        """Dice of the brains, the moved one looked up where `transform` sends each voxel."""
        to_moved = np.linalg.inv(moved.affine) @ transform @ fixed.affine
        found = ndimage.affine_transform(
            (moved.get_fdata() > 0).astype(float), to_moved, output_shape=fixed.shape, order=1
        )
        brain = fixed.get_fdata() > 0
        return float(2 * (brain & (found > 0.5)).sum() / (brain.sum() + (found > 0.5).sum()))

    assert overlap(matrix) > 0.975
    assert overlap(matrix) > overlap(np.eye(4)) + 0.01
    assert overlap(np.linalg.inv(matrix)) < overlap(matrix) - 0.02
