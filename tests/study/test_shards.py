"""The cache's index: what was written is read back, and damage is told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from stfmri.study.shards import CacheError, IndexRow, read_index, write_index

HEADER = "subject_id,patient_id,source,shard,row,key,sha256,label"
LINE = "a,a,x,shard-0000.h5,0,k,s,l"


def test_names_come_back_as_they_were_written(tmp_path: Path) -> None:
    names = ["a,b", 'c"d', "<b>ü</b>", "=1+1", "$x$", " ", "\u2603"]
    rows = [
        IndexRow(name, name, name, "shard-0000.h5", row, "k", "s", {"label": name, "n,1": name})
        for row, name in enumerate(names)
    ]
    write_index(tmp_path, rows)
    assert read_index(tmp_path) == rows


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "lacks the columns subject_id"),
        (b"a,b\n1,2\n", "lacks the columns"),
        (HEADER.encode() + b"\n", "lists no volumes"),
        (f"{HEADER}\n{LINE}\n{LINE}\n".encode(), "subject a twice"),
        (f"{HEADER}\n{LINE[:12]}".encode(), "fewer fields"),
        (f"{HEADER}\n{LINE},more\n".encode(), "more or fewer fields"),
        (f"{HEADER}\n{LINE.replace(',0,', ',first,')}\n".encode(), "is damaged .*first"),
        (f"{HEADER}\n{LINE.replace('shard-', '../shard-')}\n".encode(), "no file of the cache"),
        (f'{HEADER}\n"{LINE}'.encode(), "is damaged"),
        (HEADER.encode() + b"\n\xff\xfe", "is damaged"),
    ],
)
def test_a_damaged_index_is_named_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "index.csv").write_bytes(content)
    with pytest.raises(CacheError, match=said) as caught:
        read_index(tmp_path)
    assert "index.csv" in str(caught.value)
    assert "\n" not in str(caught.value)
