"""Only regular files are read; what a kill left is known from what is at work."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from stfmri.study import config as configuration
from stfmri.study import duplicates, history, locks, predictions
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.files import (
    NotRegularFileError,
    clear_leftovers,
    open_regular,
    read_text,
    replacing,
    sha256_of,
)
from stfmri.study.jobs import submissions
from stfmri.study.serialise import DEEPEST, load_yaml
from stfmri.study.shards import open_shard, read_index
from stfmri.study.splits import read_file


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("read", [open_regular, read_text, sha256_of])
def test_a_pipe_a_device_a_socket_and_a_folder_are_refused_at_once(
    tmp_path: Path, pipe: Path, read: object
) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s"))
        for path, kind in (
            (pipe, "a pipe"),
            (Path("/dev/zero"), "a device"),
            (tmp_path / "s", "a socket"),
            (tmp_path, "a folder"),
        ):
            with pytest.raises(NotRegularFileError, match=f"cannot read {path}.*found {kind}$"):
                read(path)  # type: ignore[operator]


def test_links_to_files_are_read_and_missing_ones_say_so(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("ü\r\n".encode())
    (tmp_path / "b").symlink_to("a")
    assert read_text(tmp_path / "b") == "ü\n"
    with pytest.raises(FileNotFoundError, match="missing"):
        read_text(tmp_path / "missing")


def test_no_reader_waits_for_a_pipe(tmp_path: Path) -> None:
    names = ("index.csv", "duplicates.csv", "shard.h5", "split.json", "config.yaml")
    for name in (*names, "predictions.csv", "metrics.csv", "jobs.csv", "lock"):
        os.mkfifo(tmp_path / name)
    for read in (
        lambda: read_index(tmp_path),
        lambda: duplicates.read(tmp_path),
        lambda: open_shard(tmp_path / "shard.h5"),
        lambda: read_file(tmp_path / "split.json"),
        lambda: configuration.load(tmp_path / "config.yaml"),
        lambda: predictions.read(tmp_path / "predictions.csv"),
        lambda: submissions(tmp_path),
        lambda: locks.holder(tmp_path),
    ):
        with pytest.raises(UserError, match="found a pipe") as caught:
            read()
        assert "\n" not in str(caught.value)
    assert history.read(tmp_path / "metrics.csv") == {}
    assert predictions.is_done(tmp_path) is False


def test_leftovers_of_a_kill_go_and_nothing_else(tmp_path: Path) -> None:
    for name in ("notes.tmp", ".hidden.tmp", ".lock.abcd1234.tmp", "a.csv"):
        (tmp_path / name).write_text("")
    with replacing(tmp_path / "a.csv") as temporary:
        clear_leftovers([tmp_path, tmp_path / "missing"])
        assert not temporary.exists()
        temporary.write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("notes.tmp", ".hidden.tmp", ".lock.abcd1234.tmp", "a.csv"),
    }


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_yaml_nested_without_end_is_refused_in_one_line(opening: str) -> None:
    """The C loader dies of it: signal 11."""
    with pytest.raises(ConfigError, match=r"a\.yaml is not valid YAML") as caught:
        load_yaml(opening * 100_000, "a.yaml")
    assert "\n" not in str(caught.value)


def test_yaml_is_read_to_the_depth_that_is_allowed() -> None:
    text = "[" * DEEPEST + "]" * DEEPEST
    assert load_yaml(text, "a.yaml")
    with pytest.raises(ConfigError, match=f"more than {DEEPEST} levels"):
        load_yaml(f"[{text}]", "a.yaml")
