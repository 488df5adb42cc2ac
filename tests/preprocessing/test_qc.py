from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from preprocessing import qc
from preprocessing.build import build
from preprocessing.chain import Chain, Processed, Sources, process
from preprocessing.cohorts import Scan, find_scans
from preprocessing.nifti import Image
from preprocessing.qc.measures import MEASURES, columns
from stfmri.study.config import Config
from stfmri.study.config.data import PreprocessingConfig
from stfmri.study.shards import IndexRow
from tests.preprocessing.conftest import brain_values

PERCENTILES = (0.5, 99.5)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def row(number: int, source: str = "here", sha256: str = "") -> IndexRow:
    sha256 = sha256 or str(number)
    return IndexRow(f"s{number}", f"s{number}", source, "shard", number, "key", sha256)


def processed(image: Image, brain: np.ndarray) -> Processed:
    chain = Chain.of(Config(preprocessing=PreprocessingConfig(spacing_mm=4)))
    content = nib.Nifti1Image(image.data, image.affine).to_bytes()
    scan = Scan("s", "s", "", "", {"scan": Path("s.nii")}, stripped=True)
    made = process(Sources(scan, {"scan": content}, ""), chain, Path())
    return replace(made, reference=image, brain=brain)


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
    assert found[4] == ["brain cut by the scan's edge (30 cm²)"]
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


def test_a_scan_much_noisier_than_those_of_its_source_is_named() -> None:
    rows = [row(number) for number in range(12)]
    spread = [numbers(snr=20.0 + 0.2 * number) for number in range(12)]
    assert qc.warn(rows, spread) == [[] for _ in rows]
    spread[2] = numbers(snr=6.0)
    spread[3] = numbers(snr=None)
    found = qc.warn(rows, spread)
    assert found[2] == ["signal to noise of 6.0 unlike its source"]
    assert found[3] == []


def test_a_small_source_is_compared_with_the_cohort() -> None:
    rows = [row(number, source=f"site{number % 6}") for number in range(12)]
    spread = [numbers(brain_ml=1480.0 + 4 * number) for number in range(12)]
    spread[3] = numbers(brain_ml=1700.0)
    assert qc.warn(rows, spread)[3] == ["volume unlike the cohort"]
    assert qc.warn(rows[:9], spread[:9])[3] == []


def test_contrasts_that_do_not_fit_are_named() -> None:
    rows = [row(number) for number in range(12)]
    spread = [
        numbers(
            reference="t1", nmi_before_t2=1.1, nmi_after_t2=1.3 + 0.001 * number, far_apart_t2=0.0
        )
        for number in range(12)
    ]
    assert qc.warn(rows, spread) == [[] for _ in rows]
    spread[1] = {**spread[1], "far_apart_t2": 80.0}
    spread[2] = {**spread[2], "covered_t2": 0.9, "kept_header_t2": 1.0}
    spread[3] = {**spread[3], "nmi_after_t2": 1.12}
    spread[4] = numbers(reference="t1", missing=["t2"])
    spread[5] = {**spread[5], "nmi_after_t2": 1.01, "shift_mm_t2": 19.0}
    spread[6] = {**spread[6], "mni_dice": 0.87}
    found = qc.warn(rows, spread)
    assert found[1] == ["t2 lies 80 mm from t1: are both of one person?"]
    assert found[2] == [
        "t2 was not registered, since no move made it fit better",
        "t2 covers 90 % of the brain",
    ]
    assert found[3] == ["t2 fits badly (overlap 1.120), unlike its source"]
    assert found[4] == ["without t2"]
    assert (
        "t2 was moved by 19 mm and still hardly fits (overlap 1.010): look at its lines"
        in (found[5])
    )
    assert found[6] == ["does not fit the template (Dice 0.87)"]


def test_a_saturated_scan_has_a_warning_and_a_share() -> None:
    values = brain_values(0)
    image = Image(np.minimum(values, 620), AFFINE)
    clipped = qc.measure(processed(image, values > 0), PERCENTILES)["clipped"]
    inside = values[values > 0]
    assert abs(clipped - (np.mean(inside >= 620) + 0.005)) < 0.01
    [texts] = qc.warn([row(0)], [numbers(clipped=clipped)])
    assert texts == [f"{100 * clipped:.0f} % of the brain clipped"]


def test_the_numbers_do_not_depend_on_how_values_are_stored() -> None:
    values = brain_values(0)
    as_found = qc.measure(processed(Image(values, AFFINE), values > 0), PERCENTILES)
    # Stored as half the value and an offset, the header says how to undo it.
    stored = Image((values.astype(np.float32) - 100) / 2, AFFINE, slope=2.0, inter=100.0)
    again = qc.measure(processed(stored, values > 0), PERCENTILES)
    assert again == as_found


def test_every_contrast_has_columns_of_its_own(tmp_path: Path) -> None:
    values = brain_values(0)
    made = processed(Image(values, AFFINE), values > 0)
    channels = np.concatenate([made.volume_CDHW, 0 * made.volume_CDHW, 1 - made.volume_CDHW])
    channels[2][made.volume_CDHW[0] == 0] = 0
    several = replace(
        made,
        volume_CDHW=channels,
        contrasts=("t1", "t2", "flair"),
        missing=("t2",),
        facts={"nmi_after_flair": 1.25, "tilt": 3.0},
    )
    found = qc.measure(several, PERCENTILES)
    assert found["missing"] == ["t2"]
    names = [measure.name for measure in columns([found])]
    assert names[len(MEASURES) :] == [
        *("snr_t1", "snr_flair", "cnr_t1", "cnr_flair", "nmi_after_flair", "tilt"),
    ]


def test_who_was_left_out_before_is_in_the_next_table_of_exclusions(
    cohort: Callable[..., Config], tmp_path: Path
) -> None:
    config = cohort(count=2)
    scans = find_scans(config.data)
    table = tmp_path / "exclude.csv"
    table.write_text("subject_id,reason\ns1,moved\n")
    config = replace(config, data=replace(config.data, exclude=str(table)))
    scans = [scans[0], replace(scans[1], fault="left out: moved")]
    build(config, scans, 1)
    page = (config.cache / "qc.html").read_text(encoding="utf-8")
    [data] = re.findall(r'id="data">(.*?)</script>', page)
    assert json.loads(data)["earlier"] == [["s1", "moved"]]


def test_the_viewers_program_lies_beside_the_page_with_its_licence(
    cohort: Callable[..., Config],
) -> None:
    config = cohort(count=2)
    build(config, find_scans(config.data), 1)
    program = (config.cache / "viewer" / "niivue.js").read_bytes()
    licence = (config.cache / "viewer" / "niivue-LICENSE.txt").read_text()
    assert hashlib.sha256(program).hexdigest() in licence
    assert "BSD 2-Clause License" in licence
    names = {path.suffix for path in (config.cache / "qc").iterdir()}
    assert names == {".js", ".json", ".png"}
    for path in (config.cache / "qc").iterdir():
        assert path.stat().st_mode & 0o077 == 0
        assert "s0" not in path.name
