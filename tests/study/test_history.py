"""metrics.csv, a row an epoch."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from stfmri.study import history as table_of_epochs
from stfmri.study.history import History


def test_a_run_that_changes_its_precision_on_the_way_keeps_one_table(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    history = History(file)
    epoch = {"epoch": 1.0, "epochs": 2.0, "train_loss": 0.7, "seconds": 2.0, "samples_per_s": 3.0}
    history.add(epoch)
    later = History(file)
    later.restore(history.state())
    later.add(epoch | {"epoch": 2.0, "loss_scale": 65536.0})
    with file.open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["epoch"] for row in rows] == ["1.0", "2.0"]
    assert [row["loss_scale"] for row in rows] == ["", "65536.0"]


def test_what_the_history_writes_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / table_of_epochs.FILE_NAME
    history = History(file)
    epoch = {"epoch": 1, "epochs": 2, "train_loss": 0.1 + 0.2, "seconds": 2.0, "samples_per_s": 3.0}
    history.add(epoch)
    history.add(epoch | {"epoch": 2, "val_loss": 1e-9})
    read = table_of_epochs.read(file)
    assert read["epoch"] == [1, 2]
    assert read["train_loss"] == [0.1 + 0.2] * 2
    assert math.isnan(read["val_loss"][0])
    assert read["val_loss"][1] == 1e-9


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"epoch,train_loss\n",
        b"epoch,train_loss\n1,0.5\n2",
        b"epoch,train_loss\n1,0.5,7\n",
        b"epoch,train_loss\n1,low\n",
        b'epoch,train_loss\n1,"0.5\n',
        b"\xff\xfe\0",
        b"epoch,train_loss\n1,inf\n",
        b"epoch,train_loss\n1e999,0.5\n",
        b"epoch,train_loss\n1,nan\n",
    ],
)
def test_a_broken_table_has_no_epochs(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / table_of_epochs.FILE_NAME
    assert table_of_epochs.read(file) == {}
    file.write_bytes(content)
    assert table_of_epochs.read(file) == {}
