"""qc.csv: what is written is read, and a damaged table stops nobody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stfmri.study.quality import FILE_NAME, Quality, TrainingScan, read, write

FOUND = {
    "brain_ml": 1400.5,
    "snr": None,
    "oriented": True,
    "missing": "",
    "brain": "given",
    "scan_sha256": "0f",
    "warnings": 'brain of 3 ml; odd, "quoted"',
}
ROWS = (("a", "here", "x", FOUND), ("b", "there", "y", {"brain_ml": 900, "snr": 8.25}))


@pytest.mark.parametrize("label", ["label", "brain", "snr", "warnings"])
def test_what_is_written_is_read_whatever_the_class_s_column_is_called(
    label: str, tmp_path: Path
) -> None:
    write(tmp_path, label, ("brain_ml", "snr"), ROWS)
    assert read(tmp_path) == {
        "a": Quality("given", "0f", {"brain_ml": 1400.5}),
        "b": Quality("", "", {"brain_ml": 900.0, "snr": 8.25}),
    }


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"subject_id,source,label,brain_ml\na,b,c\n", b'"', None]
)
def test_a_missing_or_damaged_table_is_an_empty_one(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / FILE_NAME).write_bytes(content)
    assert read(tmp_path) == {}


def test_a_pipe_in_the_place_of_the_table_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE_NAME)
    assert read(tmp_path) == {}


def test_what_a_run_keeps_of_a_training_scan_comes_back() -> None:
    scan = TrainingScan("ab", Quality("extracted", "cd", {"snr": 3.0}))
    assert TrainingScan.of_plain(scan.as_plain()) == scan
    with pytest.raises(KeyError):
        TrainingScan.of_plain({"sha256": "ab"})
