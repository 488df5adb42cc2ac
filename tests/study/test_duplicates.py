"""Copies of a scan are found, and different people are not taken for one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, gaussian_filter

from stfmri.study import duplicates
from stfmri.study.duplicates import Pair
from stfmri.study.errors import UserError
from stfmri.study.shards import IndexRow, Volumes, voxel_sha256, write_shard

Volume = NDArray[np.float32]
SHAPE = (39, 60, 60)
SPACING_MM = 4.0


def brain(seed: int, shape: tuple[int, ...] = SHAPE) -> Volume:
    """An ellipsoid of tissue that all share and folds that are a person's own, in [0, 1]."""
    generator = np.random.default_rng(seed)
    grid = np.indices(shape, np.float32)
    middle = (np.array(shape, np.float32) - 1) / 2
    radii = 0.38 * np.array(shape) * generator.uniform(0.95, 1.05, 3)
    distance = sum(((grid[axis] - middle[axis]) / radii[axis]) ** 2 for axis in range(3))
    folds = gaussian_filter(generator.standard_normal(shape), 1.5).astype(np.float32)
    values = 0.55 - 0.2 * distance + 0.12 * folds / folds.std()
    return np.where(distance <= 1, np.clip(values, 0.01, 1), 0).astype(np.float32)


def cache_of(
    folder: Path,
    volumes: dict[str, Volume],
    patient: Callable[[str], str] = str,
    spacing_mm: float = SPACING_MM,
) -> tuple[Volumes, list[IndexRow]]:
    """A cache of the volumes, one shard."""
    names = list(volumes)
    stored = np.stack(list(volumes.values())).astype(np.float16)[:, None]
    affines = np.repeat(np.diag([*[spacing_mm] * 3, 1.0])[None], len(names), axis=0)
    folder.mkdir(parents=True, exist_ok=True)
    write_shard(folder / "shard-0000.h5", stored, affines, names, names, ("scan",), "")
    rows = [
        IndexRow(name, patient(name), "x", "shard-0000.h5", n, name, voxel_sha256(stored[n]))
        for n, name in enumerate(names)
    ]
    return Volumes(folder, rows), rows


def test_a_copy_that_lacks_another_contrast_is_found(tmp_path: Path) -> None:
    t1, t2, other = (brain(seed) for seed in range(3))
    stored = np.stack([[t1, t2], [t1, t1 * 0], [other, t2]]).astype(np.float16)
    names = ["first", "copy", "other"]
    affines = np.repeat(np.diag([*[SPACING_MM] * 3, 1.0])[None], 3, axis=0)
    write_shard(tmp_path / "shard-0000.h5", stored, affines, names, names, ("t1", "t2"), "")
    rows = [
        IndexRow(name, name, "x", "shard-0000.h5", n, name, voxel_sha256(stored[n]))
        for n, name in enumerate(names)
    ]
    [pair] = duplicates.find(Volumes(tmp_path, rows), rows)
    assert {pair.subject_a, pair.subject_b} == {"first", "copy"}


def copies(volume: Volume) -> Iterator[tuple[str, Volume]]:
    inside = volume > 0
    yield "saved again", np.where(inside, np.round(volume * 3000) / 3000 + 1e-3, 0)
    yield "eight bits", np.where(inside, np.maximum(np.round(volume * 255), 1) / 255, 0)
    for axis in range(3):
        yield f"moved along {axis}", np.roll(volume, 1, axis)
        yield f"moved back along {axis}", np.roll(volume, -1, axis)
    noise = np.random.default_rng(0).normal(0, 0.01, volume.shape)
    yield "noisy", np.where(inside, np.clip(volume + noise, 1e-3, 1), 0)


def test_every_kind_of_copy_is_found_and_nobody_else(tmp_path: Path) -> None:
    people = {f"p{number:02d}": brain(number) for number in range(8)}
    for number, (name, copy) in enumerate(copies(people["p00"])):
        volumes, rows = cache_of(tmp_path / str(number), {**people, "copy": copy})
        found = duplicates.find(volumes, rows)
        assert [{pair.subject_a, pair.subject_b} for pair in found] == [{"p00", "copy"}], name
        assert found[0].correlation > 0.99, name


@pytest.mark.parametrize("others", [0, 1, 2, 5])
def test_a_pair_is_found_in_a_cohort_of_any_size(tmp_path: Path, others: int) -> None:
    people = {f"p{number}": brain(number) for number in range(1 + others)}
    volumes, rows = cache_of(tmp_path, {**people, "copy": np.roll(people["p0"], 1, 0)})
    [pair] = duplicates.find(volumes, rows)
    assert {pair.subject_a, pair.subject_b} == {"p0", "copy"}


def test_scans_of_one_patient_and_equal_voxels_are_left_to_the_split(tmp_path: Path) -> None:
    one = brain(0)
    scans = {"p-1": one, "p-2": np.roll(one, 1, 0), "q-1": brain(1), "r-1": brain(1)}
    volumes, rows = cache_of(tmp_path, scans, patient=lambda name: name[0])
    assert duplicates.find(volumes, rows) == ()


def smoothed(values: Volume) -> Volume:
    for axis in range(3):
        values = correlate1d(
            values, [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16], axis, mode="constant"
        )
    return values


def test_the_correlation_is_that_of_the_details_where_both_are_brain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = (20, 24, 20)
    scans = {name: brain(seed, shape).astype(np.float16) for seed, name in enumerate("ab")}
    volumes, rows = cache_of(tmp_path, scans, spacing_mm=8)
    details = []
    for scan in scans.values():
        inside = (scan > 0).astype(np.float32)
        details.append(
            scan - smoothed(scan.astype(np.float32)) / np.maximum(smoothed(inside), 1e-6)
        )
    both = (scans["a"] > 0) & (scans["b"] > 0)
    one, other = (detail[both] for detail in details)
    wanted = one @ other / np.sqrt((one @ one) * (other @ other))
    monkeypatch.setattr(duplicates, "SAME", -2.0)
    [pair] = duplicates.find(volumes, rows)
    assert pair.correlation == pytest.approx(wanted, abs=1e-4)


def test_people_who_are_alike_in_the_large_are_not_taken_for_one(tmp_path: Path) -> None:
    """At 8 mm most of a brain is what all brains share: its mere correlation cannot tell."""
    places = np.indices(SHAPE) / (np.array(SHAPE) - 1)[:, None, None, None]
    shared = np.cos(2 * (places - 0.5)).prod(axis=0)  # bright in the middle
    people = {
        f"p{seed}": np.where(own > 0, shared + 0.2 * own, 0)[::2, ::2, ::2]
        for seed, own in ((seed, brain(seed)) for seed in range(6))
    }
    both = (people["p0"] > 0) & (people["p1"] > 0)
    assert np.corrcoef(people["p0"][both], people["p1"][both])[0, 1] > duplicates.SAME
    volumes, rows = cache_of(tmp_path, {**people, "copy": people["p0"] * 0.9}, spacing_mm=8)
    [pair] = duplicates.find(volumes, rows)
    assert {pair.subject_a, pair.subject_b} == {"p0", "copy"}


def test_brains_that_hardly_overlap_are_not_compared(tmp_path: Path) -> None:
    whole = brain(0)
    right = np.arange(SHAPE[2]) < SHAPE[2] // 2
    halves = {"right": np.where(right, whole, 0), "left": np.where(right, 0, whole)}
    volumes, rows = cache_of(tmp_path, {**halves, "other": brain(1)})
    assert duplicates.find(volumes, rows) == ()


def test_an_empty_volume_is_like_no_other(tmp_path: Path) -> None:
    scans = {"empty": np.zeros(SHAPE, np.float32), "a": brain(0), "b": brain(1)}
    volumes, rows = cache_of(tmp_path, scans)
    assert duplicates.find(volumes, rows) == ()
    assert duplicates.find(volumes, rows[:1]) == ()


def test_pairs_come_back_as_they_were_written(tmp_path: Path) -> None:
    pairs = (Pair("a,b", 'c"d', 0.9876), Pair("ü", "x", 0.96))
    assert duplicates.read(tmp_path) == ()
    duplicates.write(tmp_path, pairs)
    assert duplicates.read(tmp_path) == pairs
    (tmp_path / duplicates.FILE_NAME).write_text("subject_a,subject_b,correlation\na,b,much\n")
    with pytest.raises(UserError, match="is damaged"):
        duplicates.read(tmp_path)


def test_a_hundred_volumes_of_2_mm_take_seconds(tmp_path: Path) -> None:
    volumes, rows = cache_of(
        tmp_path, {f"p{n}": brain(n, (78, 120, 120)) for n in range(4)}, spacing_mm=2
    )
    many = [rows[number % 4] for number in range(100)]  # a patient each: pairs are not compared
    started = time.process_time()
    assert duplicates.find(volumes, many) == ()
    assert time.process_time() - started < 20  # 3 s on a busy one
