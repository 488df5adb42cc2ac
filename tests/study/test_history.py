"""metrics.csv, a row an epoch."""

from __future__ import annotations

import csv
from pathlib import Path

from stfmri.study.history import History


def test_a_run_that_changes_its_precision_on_the_way_keeps_one_table(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    history = History(file)
    epoch = {"epoch": 1.0, "train_loss": 0.7, "seconds": 2.0, "samples_per_s": 3.0}
    history.add(epoch)
    later = History(file)
    later.restore(history.state())
    later.add(epoch | {"epoch": 2.0, "loss_scale": 65536.0})
    with file.open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["epoch"] for row in rows] == ["1.0", "2.0"]
    assert [row["loss_scale"] for row in rows] == ["", "65536.0"]
