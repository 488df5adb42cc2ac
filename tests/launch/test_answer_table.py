"""The table of answers: a spreadsheet shows it, and runs nothing of it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from launch.prediction.answers import Answer
from launch.prediction.examine import Examined
from launch.prediction.sheet import FORMULA, as_csv, as_text
from preprocessing.cohorts import Scan


def answer_of(name: str, classes: tuple[str, ...]) -> Answer:
    scan = Scan(name, name, "", "", {"scan": Path("a.nii")})
    said_FK = np.array([[0.2, 0.8], [0.6, 0.4], [0.1, 0.9]])
    found = Examined(scan)
    return Answer(found, classes, said_FK, "@given", None, 0, (), ("=1+1 is odd",))


@pytest.mark.parametrize("first", FORMULA)
def test_no_cell_begins_like_a_formula_whatever_paths_classes_and_reasons_do(first: str) -> None:
    odd = f"{first}cmd|' /C calc'!A1\r=1+1"
    refused = Examined(Scan(odd, odd, "", "", {}), reason=odd)
    text = as_csv([answer_of(odd, (odd, "b"))], [refused], (odd, "b"))
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert len(rows) == 3
    assert all(len(row) == len(rows[0]) for row in rows)
    for row in rows:
        assert not [cell for cell in row if cell.startswith(FORMULA)]
    assert rows[1][0] == rows[2][0] == f"'{odd}"


def test_a_path_that_begins_with_an_equals_sign_is_shown_as_it_is_typed() -> None:
    assert as_text("=a.nii.gz") == "'=a.nii.gz"
    assert as_text("/data/=a.nii.gz") == "/data/=a.nii.gz"
    assert as_text("") == ""


def test_a_row_has_the_mean_the_range_and_how_many_networks_agree() -> None:
    text = as_csv([answer_of("a", ("x", "y"))], [], ("x", "y"))
    [row] = csv.DictReader(io.StringIO(text))
    assert (row["prediction"], row["prob_y"]) == ("y", "0.7000")
    assert (row["low_y"], row["high_y"]) == ("0.4000", "0.9000")
    assert (row["networks"], row["agreeing"]) == ("3", "2")
