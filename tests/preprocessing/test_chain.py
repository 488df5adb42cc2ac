from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from preprocessing.chain import Chain, read
from preprocessing.cohorts import Scan
from preprocessing.nifti import ScanError
from preprocessing.worker import STEPS
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig
from tests.preprocessing.heads import (
    CONTRASTS,
    grid,
    interior,
    native,
    processed,
    rotation,
    stripped,
)

# Of an intensity in [0, 1]; two of float16's steps near 1.
SAME = 1e-3
Heads = dict[str, nib.Nifti1Image]


def heads(turn: tuple[float, float, float] | None = None) -> Heads:
    """Both contrasts of the smooth head at 2 mm; tilted on a larger matrix."""
    place = grid() if turn is None else grid((104, 114, 104), turn=rotation(turn))
    return {name: stripped(name, *place) for name in CONTRASTS}


def each(change: Callable[[nib.Nifti1Image], nib.Nifti1Image]) -> Callable[[], Heads]:
    return lambda: {name: change(scan) for name, scan in heads().items()}


def turned(axes: str) -> Callable[[], Heads]:
    def turn(scan: nib.Nifti1Image) -> nib.Nifti1Image:
        wanted = nib.orientations.axcodes2ornt(axes)
        return scan.as_reoriented(
            nib.orientations.ornt_transform(nib.io_orientation(scan.affine), wanted)
        )

    return each(turn)


def wider(axis: int, before: int, after: int) -> Callable[[], Heads]:
    """More background along an axis."""

    def widen(scan: nib.Nifti1Image) -> nib.Nifti1Image:
        room = [(0, 0)] * 3
        room[axis] = (before, after)
        affine = scan.affine.copy()
        affine[:3, 3] -= before * affine[:3, axis]
        return nib.Nifti1Image(np.pad(np.asarray(scan.dataobj), room), affine)

    return each(widen)


def stored_as(kind: str, slope: float) -> Callable[[], Heads]:
    def store(scan: nib.Nifti1Image) -> nib.Nifti1Image:
        values = np.asarray(scan.dataobj, np.float64) / slope
        if np.dtype(kind).kind in "iu":
            values = np.round(values)
        made = nib.Nifti1Image(values.astype(kind), scan.affine)
        made.header.set_slope_inter(slope, 0)
        return made

    return each(store)


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    return processed(heads(), spacing_mm=4).volume_CDHW


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(turned("LPS"), id="flipped right-left and front-back"),
        pytest.param(turned("RAI"), id="flipped upside down"),
        pytest.param(turned("PSR"), id="rotated"),
        pytest.param(turned("ILA"), id="rotated and flipped"),
        *(
            pytest.param(wider(axis, *room), id=f"background {room} along {axis}")
            for axis in range(3)
            for room in ((1, 0), (0, 1))
        ),
        pytest.param(wider(1, 37, 5), id="a much wider field"),
        pytest.param(stored_as("float64", 1), id="float64"),
        pytest.param(stored_as("uint16", 0.02), id="uint16 with a slope"),
        pytest.param(stored_as("int16", 0.05), id="int16 with a slope"),
        pytest.param(lambda: heads((15, 0, 0)), id="15° around x"),
        pytest.param(lambda: heads((0, 0, -15)), id="15° around z"),
        pytest.param(lambda: heads((10, -8, 12)), id="oblique"),
    ],
)
def test_the_same_brain_gives_the_same_voxels_in_each_contrast(
    other: Callable[[], Heads], plain: np.ndarray
) -> None:
    volume = processed(other(), spacing_mm=4).volume_CDHW
    inner = interior(plain[0])
    assert inner.sum() > 10_000
    apart = np.abs(volume.astype(float) - plain.astype(float))
    assert apart[:, inner].max() <= SAME
    # At the edge it is the mask that a tilted matrix samples differently, by a voxel at most.
    assert np.count_nonzero((volume > 0) != (plain > 0)) < 0.02 * np.count_nonzero(plain)


def test_faint_noise_around_a_stripped_brain_changes_nothing(plain: np.ndarray) -> None:
    def noisy(scan: nib.Nifti1Image) -> nib.Nifti1Image:
        noise = np.random.default_rng(0).normal(0, 1e-6, scan.shape)
        return nib.Nifti1Image(np.asarray(scan.dataobj) + noise.astype(np.float32), scan.affine)

    volume = processed(each(noisy)(), spacing_mm=4).volume_CDHW
    np.testing.assert_allclose(volume.astype(float), plain.astype(float), atol=SAME)


def test_a_contrast_alone_is_what_it_is_among_others(plain: np.ndarray) -> None:
    for number, (name, scan) in enumerate(heads().items()):
        alone = processed({name: scan}, spacing_mm=4).volume_CDHW
        np.testing.assert_array_equal(alone[0], plain[number])


def test_each_channel_has_its_own_percentiles_in_the_common_mask(plain: np.ndarray) -> None:
    scans = heads()
    scans["t2"] = nib.Nifti1Image(np.asarray(scans["t2"].dataobj) * 7, scans["t2"].affine)
    made = processed(scans, spacing_mm=4)
    np.testing.assert_allclose(made.volume_CDHW.astype(float), plain.astype(float), atol=SAME)
    wide = processed(heads(), spacing_mm=4, percentiles=(10, 90))
    for channel, name in enumerate(CONTRASTS):
        values = np.asarray(heads()[name].dataobj)[made.brain]
        low, high = np.percentile(values, [0.5, 99.5])
        tenth, ninetieth = np.percentile(values, [10, 90])
        inner = interior(plain[channel]) & (plain[channel] > 0.05) & (plain[channel] < 0.95)
        expected = ((high - low) * plain[channel][inner] + low - tenth) / (ninetieth - tenth)
        kept = (expected > 0.1) & (expected < 0.9)  # where nothing near was clipped
        np.testing.assert_allclose(
            wide.volume_CDHW[channel][inner][kept], expected[kept], atol=5 * SAME
        )
        assert made.facts[f"clipped_{name}"] == pytest.approx(0.01, abs=2e-3)
        assert wide.facts[f"clipped_{name}"] == pytest.approx(0.2, abs=2e-3)


def test_an_absent_contrast_becomes_a_channel_of_zeros(plain: np.ndarray) -> None:
    scans = {"t2": heads()["t2"]}
    made = processed(scans, contrasts=("t1", "t2", "flair"), missing="zeros", spacing_mm=4)
    assert made.missing == ("t1", "flair")
    assert not made.volume_CDHW[[0, 2]].any()
    np.testing.assert_array_equal(made.volume_CDHW[1], plain[1])
    with pytest.raises(ScanError, match="has no t1 and no flair"):
        processed(scans, contrasts=("t1", "t2", "flair"), spacing_mm=4)


def test_a_fault_of_one_contrast_is_told_with_its_name() -> None:
    scans = heads()
    brain = np.asarray(scans["t1"].dataobj) > 0
    scans["t2"] = nib.Nifti1Image(brain.astype(np.int16), scans["t2"].affine)
    with pytest.raises(ScanError, match=r"^t2: the brain is constant: every voxel"):
        processed(scans, spacing_mm=4)
    scans["t2"] = nib.Nifti1Image(np.full(brain.shape, np.nan), scans["t2"].affine)
    with pytest.raises(ScanError, match=r"^t2: .* voxels are NaN"):
        processed(scans, spacing_mm=4)


def test_a_scan_of_a_few_slices_is_refused_in_one_line() -> None:
    scans = {
        "t1": native("t1", *grid((90, 96, 90), (2, 2, 2))),
        "t2": native("t2", *grid((90, 96, 3), (2, 2, 20))),
    }
    brain = native("t1", *grid((90, 96, 90), (2, 2, 2)), skull=False)
    mask = nib.Nifti1Image((np.asarray(brain.dataobj) != 0).astype(np.uint8), brain.affine)
    with pytest.raises(ScanError, match="too few voxels to work with") as caught:
        processed(scans, mask, spacing_mm=4)
    assert "\n" not in str(caught.value)


def test_standardised_scans_are_refused_by_n4() -> None:
    scans = {"t1": stripped("t1", *grid((90, 96, 90), (2, 2, 2)))}
    values = np.asarray(scans["t1"].dataobj)
    brain = values != 0
    standard = np.where(brain, values - values[brain].mean(), 0)
    mask = nib.Nifti1Image(brain.astype(np.uint8), scans["t1"].affine)
    scans["t1"] = nib.Nifti1Image(standard, scans["t1"].affine)
    with pytest.raises(ScanError, match=r"0 or less: preprocessing\.bias=n4"):
        processed(scans, mask, spacing_mm=4, bias="n4")


def test_a_contrast_on_another_grid_fills_the_same_voxels() -> None:
    place = grid((90, 96, 90), (2, 2, 2))
    other = grid((76, 90, 40), (2.2, 2.0, 4.5), rotation((3, -4, 5)))
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = rotation((4, 3, -6)), (6, -5, 9)
    scans = {
        "t1": native("t1", *place, skull=False),
        "t2": native("t2", *other, moved=moved, skull=False),
    }
    still = {**scans, "t2": native("t2", *place, skull=False)}
    found, expected = (processed(each, spacing_mm=4) for each in (scans, still))
    inner = interior(expected.volume_CDHW[0])
    pairs = [made.volume_CDHW[1][inner].astype(float) for made in (found, expected)]
    assert np.corrcoef(*pairs)[0, 1] > 0.97  # slices of 4.5 mm blur the rest away
    np.testing.assert_array_equal(found.volume_CDHW[0], expected.volume_CDHW[0])
    assert found.facts["covered_t2"] > 0.99
    assert found.facts["nmi_after_t2"] > found.facts["nmi_before_t2"]
    turn = nib.orientations.axcodes2ornt("PSL")
    scans["t2"] = scans["t2"].as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(scans["t2"].affine), turn)
    )
    flipped = processed(scans, spacing_mm=4).volume_CDHW[1].astype(float)
    np.testing.assert_allclose(flipped[inner], pairs[0], atol=SAME)


def test_shading_of_the_coil_is_taken_out_by_n4() -> None:
    place = grid((72, 84, 70), (2.4, 2.4, 2.4))
    even = native("t1", *place, skull=False)
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in even.shape), indexing="ij")
    shade = np.exp(0.35 * x + 0.25 * y * y)
    shaded = nib.Nifti1Image((np.asarray(even.dataobj) * shade).astype(np.float32), even.affine)
    expected = processed({"t1": even}, spacing_mm=4).volume_CDHW.astype(float)
    inner = interior(expected[0])

    def off(scan: nib.Nifti1Image, bias: str) -> float:
        volume = processed({"t1": scan}, spacing_mm=4, bias=bias).volume_CDHW.astype(float)
        return float(np.abs(volume - expected)[0][inner].mean())

    assert off(shaded, "none") > 0.08
    assert off(shaded, "n4") < 0.03


def test_seconds_are_told_for_each_step_and_facts_are_plain_numbers() -> None:
    made = processed(heads(), spacing_mm=8)
    assert set(made.seconds) == set(STEPS) - {"picture"}
    assert all(type(value) is float for value in made.facts.values())


def test_reading_names_the_fault_found_before(tmp_path: Path) -> None:
    chain = Chain.of(Config(data=DataConfig(contrasts=("t1",))))
    scan = Scan("s", "s", "", "", {}, fault="two files for t1")
    with pytest.raises(ScanError, match="two files for t1"):
        read(scan, chain)
    with pytest.raises(ScanError, match="cannot read"):
        read(replace(scan, fault="", paths={"t1": tmp_path / "none.nii"}), chain)


def test_the_real_contrasts_on_one_grid_share_their_edges(real_data: Path) -> None:
    folder = real_data / "glioma"
    scans = {
        name: nib.load(folder / f"TCGA-DU-7294_LGG_{name}_stripped_SRI24.nii.gz")
        for name in ("T1ce", "FLAIR")
    }
    made = processed(scans)
    assert made.volume_CDHW.shape == (2, 78, 120, 120)
    assert not any(name.startswith("nmi") for name in made.facts)
    assert (made.volume_CDHW[0] > 0).sum() * 8e-3 > 1000  # ml
