"""Volumes are still what index.csv says, or the shard and the subject are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from stfmri.study.shards import CacheError, Volumes, read_index
from stfmri.study.verify import Verification
from tests.tiny import damage_volume, tiny_cache, tiny_config


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    config = tiny_config(tmp_path)
    tiny_cache(config)
    return Volumes(config.cache, read_index(config.cache))


def test_whole_volumes_pass(volumes: Volumes) -> None:
    Verification(volumes).require()


@pytest.mark.parametrize("content", [bytes(64), b"\x01"], ids=["zeros", "bits"])
def test_a_changed_volume_is_named_with_its_shard(
    tmp_path: Path, volumes: Volumes, content: bytes
) -> None:
    shard = damage_volume(tmp_path, 7, content)
    subject = volumes.in_stored_order()[7]
    with pytest.raises(CacheError, match=rf"{shard.name} is damaged: the volume of {subject} "):
        Verification(volumes).require()


def test_volumes_are_verified_shard_by_shard_in_the_order_of_their_rows(volumes: Volumes) -> None:
    names = [row.subject_id for row in read_index(volumes._cache)]
    assert Volumes(volumes._cache, read_index(volumes._cache)[::-1]).in_stored_order() == names
