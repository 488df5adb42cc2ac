from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from preprocessing import qc
from preprocessing.build import build
from preprocessing.chain import Processed
from preprocessing.cohorts import find_scans
from preprocessing.nifti import Image
from preprocessing.qc.measures import MEASURES
from preprocessing.transforms import to_grid
from stfmri.study.config import Config, PreprocessingConfig
from stfmri.study.shards import IndexRow
from tests.preprocessing.conftest import brain_values

PERCENTILES = (0.5, 99.5)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def row(number: int, source: str = "here", sha256: str = "") -> IndexRow:
    sha256 = sha256 or str(number)
    return IndexRow(f"s{number}", f"s{number}", source, "shard", number, "key", sha256)


def processed(image: Image, brain: np.ndarray) -> Processed:
    volume, affine = to_grid(image, brain, PreprocessingConfig(spacing_mm=4))
    return Processed(image, brain, volume, affine, ("scan",))


def numbers(**changed: object) -> dict[str, object]:
    return {"brain_ml": 1500.0, "border_cm2": 0.0, "oriented": True, **changed}


def test_the_numbers_are_those_of_an_ellipsoid() -> None:
    values = brain_values(0)
    image, brain = Image(values, AFFINE), values > 0
    made = processed(image, brain)
    found = qc.measure(made, PERCENTILES)
    assert {measure.name for measure in MEASURES} - set(found) == {"volume_z"}
    assert abs(found["brain_ml"] - 4 / 3 * np.pi * 6.5 * 8.5 * 6.0) < 30
    assert (found["right_mm"], found["anterior_mm"], found["superior_mm"]) == (128, 168, 120)
    assert found["border_cm2"] == 0
    assert 0 < found["p05"] < found["median"] < found["p95"] <= 1
    turned = np.diag([0.0, 0.0, 0.0, 1.0])
    turned[0, 1] = turned[1, 0] = turned[2, 2] = 4
    swapped = Image(values.swapaxes(0, 1), turned)
    again = qc.measure(replace(made, reference=swapped, brain=brain.swapaxes(0, 1)), PERCENTILES)
    assert again == found


def test_a_brain_that_the_scan_cuts_is_told_by_the_area_of_the_cut() -> None:
    values = brain_values(0)[:, :, 20:]
    image = Image(values, AFFINE)
    area_cm2 = qc.measure(processed(image, values > 0), PERCENTILES)["border_cm2"]
    assert abs(area_cm2 - np.pi * 6.5 * 8.5) < 5


def test_warnings_name_what_is_odd_and_nothing_else() -> None:
    rows = [row(number) for number in range(12)]
    spread = [numbers(brain_ml=1480.0 + 4 * number) for number in range(12)]
    assert qc.warn(rows, spread) == [[] for _ in rows]
    spread[3] = numbers(brain_ml=1700.0)
    spread[4] = numbers(border_cm2=30.0)
    spread[5] = numbers(oriented=False)
    found = qc.warn(rows, spread)
    assert found[3] == ["volume unlike its source"]
    assert found[4] == ["cut by the scan's edge (30 cm²)"]
    assert found[5] == ["left and right unknown"]
    assert qc.warn([row(0)], [numbers(brain_ml=4100.0)]) == [["brain of 4100 ml"]]
    twins = [row(0, sha256="x"), row(1, sha256="x")]
    assert qc.warn(twins, [numbers(), numbers()])[1] == ["same voxels as s0"]


def test_the_page_holds_everything_and_escapes_what_came_from_outside(
    cohort: Callable[..., Config], tmp_path: Path
) -> None:
    config = cohort(count=3)
    table = Path(config.data.table or "")
    text = table.read_text().replace("s0,", "<script>alert(1)</script>,")
    table.write_text(text.replace(",b,", ',b" onload="x,').replace("s2.nii.gz", "none.nii.gz"))
    build(config, find_scans(config.data), 1)
    page = (config.cache / "qc.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert 'onload="x' not in page
    assert len(re.findall(r'src="data:image/png;base64,', page)) == 2
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "1 rejected" in page
    assert "No such file" in page


def test_a_cohort_of_which_nothing_is_left_still_gets_its_page(
    cohort: Callable[..., Config], tmp_path: Path
) -> None:
    config = cohort(count=1)
    (tmp_path / "scans" / "s0.nii.gz").unlink()
    report = build(config, find_scans(config.data), 1)
    assert (report.volumes, len(report.rejected)) == (0, 1)
    assert "1 rejected" in (config.cache / "qc.html").read_text(encoding="utf-8")
