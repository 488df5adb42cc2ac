"""The parts of the GPU checks that measure go through on the null device; figures mean nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cuda.null_device import NullDevice

pytestmark = pytest.mark.slow

# A row of each; parts A to C judge values, of which there are none here, and F needs processes.
FIGURES = {
    "D": "batch 1, share of the roofline",
    "E": "a checkpoint; peer",
    "G": r"batch ([2-9]|\d\d)( \(peer \d\d?\))?, share of the roofline",
}


def test_the_parts_that_measure_go_through_to_their_rows(null: NullDevice, tmp_path: Path) -> None:
    out = tmp_path / "check.json"
    done = null.run("gpu_check", "--quick", "--part", *FIGURES, "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["outside"] == []
    for part, name in FIGURES.items():
        names = [one["name"] for one in written["figures"] if one["part"] == part]
        assert any(re.search(name, one) for one in names), names
