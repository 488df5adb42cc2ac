from __future__ import annotations

import csv
import dataclasses
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from preprocessing.build import build, build_part, publish
from preprocessing.cohorts import find_scans
from preprocessing.qc import measures_file, read_measures
from stfmri.study.config import Config
from stfmri.study.errors import RunHeldError, UserError
from stfmri.study.locks import lock
from stfmri.study.shards import Volumes, read_index, voxel_sha256
from tests.preprocessing.conftest import brain_values, write_scan

Make = Callable[..., Config]


def stored(config: Config) -> dict[str, str]:
    """Subject → hash of what the cache gives for it, checked against the index."""
    rows = read_index(config.cache)
    volumes = Volumes(config.cache, rows)
    hashes = {row.subject_id: voxel_sha256(volumes[row.subject_id]) for row in rows}
    assert hashes == {row.subject_id: row.sha256 for row in rows}
    return hashes


def built(config: Config, jobs: int = 1) -> int:
    return build(config, find_scans(config.data), jobs).built


def rejected(config: Config) -> dict[str, str]:
    with (config.cache / "rejected.csv").open(newline="", encoding="utf-8") as file:
        return {line["subject_id"]: line["reason"] for line in csv.DictReader(file)}


def test_the_index_holds_every_scan_with_its_columns_and_shards_of_the_size_asked(
    cohort: Make,
) -> None:
    config = cohort(count=5, shard_volumes=2)
    assert built(config) == 5
    rows = read_index(config.cache)
    assert [row.subject_id for row in rows] == ["s0", "s1", "s2", "s3", "s4"]
    assert [row.columns["label"] for row in rows] == ["a", "b", "a", "b", "a"]
    assert rows[3].columns["age"] == "33"
    assert sorted(path.name for path in config.cache.glob("*.h5")) == [
        "shard-0000.h5",
        "shard-0001.h5",
        "shard-0002.h5",
    ]
    volume = Volumes(config.cache, rows)["s0"]
    assert volume.shape == (1, *config.preprocessing.shape)
    assert len(set(stored(config).values())) == 5


def test_folders_and_files_are_the_owners_alone(cohort: Make) -> None:
    config = cohort(count=2)
    built(config)
    for path in [config.cache, *config.cache.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_several_processes_make_the_same_cache_as_one(cohort: Make) -> None:
    config = cohort(count=5)
    built(config)
    alone = stored(config)
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, name="other"))
    assert built(other, jobs=2) == 5
    assert stored(other) == alone
    assert [row.shard for row in read_index(other.cache)] == [
        row.shard for row in read_index(config.cache)
    ]


def test_only_what_is_new_or_changed_is_built_and_what_has_gone_leaves_the_index(
    cohort: Make, tmp_path: Path
) -> None:
    config = cohort(count=3)
    assert built(config) == 3
    before = stored(config)
    assert built(config) == 0
    cohort(count=4)  # rewrites the same three and adds one
    assert built(config) == 1
    write_scan(tmp_path / "scans" / "s1.nii.gz", brain_values(99))
    assert built(config) == 1
    after = stored(config)
    assert {name for name in before if before[name] != after[name]} == {"s1"}
    table = Path(config.data.table or "")
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:3]))
    assert built(config) == 0
    assert set(stored(config)) == {"s0", "s1"}


def test_volumes_of_another_chain_lie_in_another_cache_and_both_stay(cohort: Make) -> None:
    config = cohort(count=3)
    built(config)
    first = stored(config)
    changed = cohort(count=3, percentiles=(5.0, 95.0))
    assert built(changed) == 3
    assert all(first[name] != sha for name, sha in stored(changed).items())
    assert stored(config) == first


def test_a_scan_left_out_is_listed_with_its_reason_and_is_no_failure(
    cohort: Make, tmp_path: Path
) -> None:
    config = cohort(count=3)
    (tmp_path / "out.csv").write_text("subject_id,reason\ns1,moved\n")
    everybody = config
    data = dataclasses.replace(config.data, exclude=str(tmp_path / "out.csv"))
    config = dataclasses.replace(config, data=data)
    report = build(config, find_scans(config.data), 1)
    assert (report.volumes, report.rejected, report.left_out) == (2, (), 1)
    assert "s1" in (config.cache / "rejected.csv").read_text()
    assert "left out: moved" in (config.cache / "rejected.csv").read_text()
    # A command that does not name the file takes the scan back, and says so.
    assert build(everybody, find_scans(everybody.data), 1).taken_back == ("s1",)
    assert build(everybody, find_scans(everybody.data), 1).taken_back == ()


def test_the_size_of_shards_and_the_number_of_workers_do_not_rebuild(cohort: Make) -> None:
    built(cohort(count=3))
    assert built(cohort(count=3, shard_volumes=5, jobs=2)) == 0


def test_a_given_mask_is_part_of_the_key(cohort: Make, tmp_path: Path) -> None:
    config = cohort(count=2)
    brain = brain_values(0) > 0
    mask = write_scan(tmp_path / "m.nii.gz", brain.astype(np.uint8))
    table = Path(config.data.table or "")
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0] + ",mask", lines[1] + ",m.nii.gz", lines[2] + ","]) + "\n")
    assert built(config) == 2
    brain[22:] = False
    write_scan(mask, brain.astype(np.uint8))
    before = stored(config)
    assert built(config) == 1
    after = stored(config)
    assert (before["s0"] != after["s0"], before["s1"] == after["s1"]) == (True, True)


def test_a_scan_that_cannot_be_used_is_rejected_and_the_rest_go_on(
    cohort: Make, tmp_path: Path
) -> None:
    config = cohort(count=5)
    scans = tmp_path / "scans"
    (scans / "s0.nii.gz").unlink()
    (scans / "s1.nii.gz").write_bytes((scans / "s1.nii.gz").read_bytes()[:5000])
    write_scan(scans / "s2.nii.gz", np.stack([brain_values(2)] * 2, -1))
    write_scan(scans / "s3.nii.gz", np.full((20, 20, 20), 5, np.int16))
    report = build(config, find_scans(config.data), 1)
    assert set(stored(config)) == {"s4"}
    reasons = rejected(config)
    assert set(reasons) == {"s0", "s1", "s2", "s3"}
    assert dict(report.rejected) == reasons
    assert "No such file" in reasons["s0"]
    assert "truncated" in reasons["s1"]
    cohort(count=5)  # mends them
    assert built(config) == 4
    assert rejected(config) == {}


def test_the_same_voxels_under_two_names_are_stored_once_and_told(
    cohort: Make, tmp_path: Path
) -> None:
    config = cohort(count=2)
    write_scan(tmp_path / "scans" / "s1.nii.gz", brain_values(0))
    assert built(config) == 1
    assert len(set(stored(config).values())) == 1
    with (config.cache / "qc.csv").open(newline="", encoding="utf-8") as file:
        warnings = [line["warnings"] for line in csv.DictReader(file)]
    assert "same voxels as s1" in warnings[0]


def test_parts_built_apart_publish_as_one_cache(cohort: Make) -> None:
    config = cohort(count=5)
    built(config)
    whole = stored(config)
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, name="other"))
    scans = find_scans(other.data)
    build_part(other, scans[::2], "job7-0")
    build_part(other, scans[1::2], "job7-1")
    assert not (other.cache / "index.csv").exists()
    report = publish(other, scans, ["job7-0", "job7-1"])
    assert (report.volumes, report.built, report.unfinished) == (5, 5, ())
    assert stored(other) == whole
    assert [row.subject_id for row in read_index(other.cache)] == [
        scan.subject_id for scan in scans
    ]
    assert not (other.cache / "parts").exists()


def test_a_part_that_did_not_finish_leaves_the_published_cache_as_it_was(
    cohort: Make, tmp_path: Path
) -> None:
    config = cohort(count=4)
    built(config)
    before = stored(config)
    for number in range(4):
        write_scan(tmp_path / "scans" / f"s{number}.nii.gz", brain_values(50 + number))
    scans = find_scans(config.data)
    build_part(config, scans[:2], "a")
    assert publish(config, scans, ["a", "b"]).unfinished == ("b",)
    assert stored(config) == before
    build_part(config, scans[2:], "b")
    assert publish(config, scans, ["a", "b"]).volumes == 4
    assert all(before[name] != sha for name, sha in stored(config).items())


def test_a_record_made_by_another_chain_counts_as_unfinished(cohort: Make) -> None:
    config = cohort(count=2)
    scans = find_scans(config.data)
    build_part(config, scans, "a")
    changed = cohort(count=2, percentiles=(5.0, 95.0))
    assert publish(changed, scans, ["a"]).unfinished == ("a",)


def test_a_damaged_shard_is_built_again(cohort: Make) -> None:
    config = cohort(count=4)
    built(config)
    before = stored(config)
    shard = config.cache / "shard-0001.h5"
    shard.write_bytes(shard.read_bytes()[:3000])
    assert built(config) == 2
    assert stored(config) == before
    assert not shard.exists()


def test_two_builds_of_one_cache_exclude_each_other_and_parts_do_not(cohort: Make) -> None:
    config = cohort(count=2)
    scans = find_scans(config.data)
    with lock(config.cache):
        with pytest.raises(RunHeldError, match="held by process"):
            build(config, scans, 1)
        with pytest.raises(RunHeldError, match="is being built by process"):
            build_part(config, scans, "a")
    with lock(config.cache / "parts" / "a"):
        build_part(config, scans, "b")
        with pytest.raises(RunHeldError, match="is being built by process"):
            publish(config, scans, ["a", "b"])


def _build(config: Config) -> None:
    build(config, find_scans(config.data), 1)


@pytest.mark.parametrize("wait_s", [0.01, 0.03, 0.06, 0.1, 0.15, 0.25])
def test_a_build_killed_at_any_moment_is_finished_by_the_next(cohort: Make, wait_s: float) -> None:
    config = cohort(count=6)
    built(config)
    expected = stored(config)
    changed = cohort(count=6, percentiles=(1.0, 99.0))
    # fork: the child starts at once, so that the kill falls into the build and not into imports.
    child = multiprocessing.get_context("fork").Process(target=_build, args=(changed,))
    child.start()
    time.sleep(wait_s)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    # Whatever stands published is whole: the old cache or the new one.
    assert set(stored(config)) == set(expected)
    build(changed, find_scans(changed.data), 1)
    finished = stored(changed)
    fresh = dataclasses.replace(changed, data=dataclasses.replace(changed.data, name="fresh"))
    built(fresh)
    assert finished == stored(fresh)
    assert not list(changed.cache.rglob(".*.tmp"))


def test_fsl_that_is_asked_for_and_absent_is_a_wrong_call(
    cohort: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = cohort(count=1)
    asked = dataclasses.replace(config.preprocessing, skullstrip="fsl")
    monkeypatch.setenv("PATH", "/nowhere")
    assert built(dataclasses.replace(config, preprocessing=asked)) == 1  # stripped: needs none
    scans = [dataclasses.replace(scan, stripped=False) for scan in find_scans(config.data)]
    with pytest.raises(UserError, match="load its module"):
        build(dataclasses.replace(config, preprocessing=asked), scans, 1)


@pytest.mark.parametrize("content", [b"", b"\xff\0", b"[" * 100_000, b"[]", b"{}"])
def test_a_damaged_quality_record_counts_as_absent(tmp_path: Path, content: bytes) -> None:
    keep = measures_file(tmp_path, "key")
    keep.parent.mkdir()
    keep.write_bytes(content)
    assert read_measures(tmp_path, "key") is None


@pytest.mark.parametrize("share", [0, 1])
@pytest.mark.parametrize("suffix", [".png", ".js"])
def test_a_volume_whose_picture_a_loss_of_power_emptied_or_zeroed_is_built_again(
    cohort: Callable[..., Config], suffix: str, share: int
) -> None:
    config = cohort()
    build(config, find_scans(config.data), 1)
    path = min((config.cache / "qc").glob(f"*{suffix}"))
    before = path.read_bytes()
    path.write_bytes(bytes(share * len(before)))
    assert build(config, find_scans(config.data), 1).built == 1
    assert path.read_bytes() == before


def test_pictures_that_somebody_took_away_are_no_reason_to_build_volumes_again(
    cohort: Callable[..., Config],
) -> None:
    config = cohort()
    build(config, find_scans(config.data), 1)
    for path in (config.cache / "qc").glob("*.js"):
        path.unlink()
    assert build(config, find_scans(config.data), 1).built == 0
