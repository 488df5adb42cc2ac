"""The pages people read, in a real browser: scripts run, and nothing spills out of the window."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from launch.prediction.answers import Answer
from launch.prediction.examine import Examined
from launch.prediction.page import render
from preprocessing import build, cohorts
from preprocessing.cohorts import Scan
from preprocessing.nifti import Image
from preprocessing.qc.picture import montage
from stfmri.collect import collect
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig, PreprocessingConfig
from stfmri.study.shards import read_index
from tests.conftest import skip_or_fail
from tests.evidence.sweeps import make_sweep
from tests.preprocessing.conftest import brain_values, write_scan

# Run by the page itself when it has loaded: what it saw becomes its title, which is printed.
PROBE = """
<script>
addEventListener("load", async () => {
  try { WAIT } catch (error) { probeErrors.push(String(error)); }
  const page = document.documentElement;
  const seen = {
    errors: window.probeErrors,
    spill: page.scrollWidth - page.clientWidth,
    broken: [...document.images].filter(image => !image.complete || !image.naturalWidth).length,
    images: document.images.length,
    text: document.body.innerText.length,
    ACTION
  };
  document.title = "SEEN" + JSON.stringify(seen) + "SEEN";
});
</script>
"""
LISTEN = "<script>window.probeErrors=[];onerror=(what)=>{probeErrors.push(String(what))}</script>"


@pytest.fixture(scope="module")
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        skip_or_fail("no browser; on Debian: apt install chromium")
    return str(found)


def look(
    browser: str,
    page: Path,
    tmp_path: Path,
    width: int,
    action: str = "",
    wait: str = "",
    anchor: str = "",
) -> dict[str, Any]:
    """What a probe at the end of the page sees in a window of this width, in pixels.

    Args:
        action: entries of a JavaScript object, each evaluated when the page has loaded.
        wait: statements that are run before, in an async function.
        anchor: after the `#` of the address.
    """
    text = page.read_text(encoding="utf-8")
    # Beside the page, so that it finds the files that lie there.
    copy = page.with_name(f"probed-{width}.html")
    probe = PROBE.replace("ACTION", action).replace("WAIT", wait)
    copy.write_text(text.replace("<head>", "<head>" + LISTEN, 1) + probe, encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--no-first-run"]
    # WebGL in software: the viewer needs it, and machines that test have no graphics card.
    command += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1200"]
    budget_ms = 20_000 if wait else 2000
    command += [f"--virtual-time-budget={budget_ms}", "--dump-dom", copy.as_uri() + anchor]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"<title>SEEN(.*?)SEEN</title>", ended.stdout, re.DOTALL)
    assert found, "the page's last script did not run"
    return json.loads(html.unescape(found[1]))


@pytest.mark.parametrize("width", [1300, 500])
def test_the_report_opens_whole_and_fits_the_window(
    browser: str, tmp_path: Path, width: int
) -> None:
    sweep = make_sweep(tmp_path, note="Read <this> first")
    results = tmp_path / "results" / "full"
    assert collect(sweep.folder, results, False, Console(quiet=True)) == 0
    seen = look(browser, results / "report.html", tmp_path, width)
    assert seen["errors"] == []
    assert seen["spill"] <= 0
    assert seen["broken"] == 0
    assert seen["images"] > 2
    assert seen["text"] > 2000


@pytest.mark.parametrize("width", [1300, 500])
def test_the_page_of_answers_opens_whole_and_fits_the_window(
    browser: str, tmp_path: Path, width: int
) -> None:
    values = brain_values(0)
    scan = Scan(ODD, ODD, "", "", {"scan": Path("/data") / ("long" * 40) / "scan.nii.gz"})
    picture = montage(Image(values, np.diag([4.0, 4.0, 4.0, 1.0])), values > 0)
    classes, warnings = ("LGG", "HGG with <b> in it"), ("is odd " * 30, ODD)
    said_FK = np.random.default_rng(0).dirichlet((1, 1), 9)
    answers = [
        Answer(Examined(scan, picture=picture), classes, said_FK, "given", None, 2, (), warnings)
        for _ in range(2)
    ]
    page = tmp_path / "page.html"
    refused = [Examined(scan, reason=ODD)]
    labels = [f"a_rather_long_name_of_a_variant-scratch/fold{fold}" for fold in range(9)]
    text = render(
        "variant" * 20,
        labels,
        answers,
        refused,
        classes=classes,
        caution="careful",
        meaning=ODD,
        notes=[ODD],
    )
    page.write_text(text, encoding="utf-8")
    seen = look(browser, page, tmp_path, width)
    assert seen["errors"] == []
    assert seen["spill"] <= 0
    assert seen["broken"] == 0
    assert seen["images"] == 2


ODD = '<img src=x onerror="probeErrors.push(1)">, "ü"'
# Ends when the viewer has drawn, or said why it cannot.
DRAWN = """
    for (let tries = 0; tries < 150 && !dialog.dataset.shown; tries++) {
      await new Promise(go => setTimeout(go, 100));
    }
"""
# Pixels of the viewer's canvas that are not black.
LIT = """(() => {
    viewer.niivue.drawScene();
    const gl = viewer.niivue.gl, [width, height] = [gl.drawingBufferWidth, gl.drawingBufferHeight];
    const pixels = new Uint8Array(4 * width * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    return pixels.filter((value, place) => place % 4 === 0 && value > 40).length / (width * height);
})()"""


@pytest.fixture(scope="module")
def quality(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The quality page of five scans, one with an odd name, one rejected."""
    folder = tmp_path_factory.mktemp("quality")
    lines = ["subject_id,path,label,stripped"]
    quoted = '"' + ODD.replace('"', '""') + '"'
    # Brains of four sizes, not in the order of the table.
    for number, (name, radius) in enumerate([("a", 70), (quoted, 62), ("c", 66), ("d", 74)]):
        write_scan(folder / f"{number}.nii.gz", brain_values(number, (radius, 85, 60)))
        lines.append(f"{name},{number}.nii.gz,{'xy'[number % 2]},true")
    lines.append("gone,none.nii.gz,x,true")
    table = folder / "cohort.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = Config(
        root=str(folder),
        data=DataConfig(table=str(table)),
        preprocessing=PreprocessingConfig(spacing_mm=8),
    )
    build.build(config, cohorts.find_scans(config.data), jobs=1)
    return config


def choose(name: str, value: str) -> str:
    """JavaScript that sets a field of the page's form."""
    return f"""
        field("{name}").value = {value};
        field("{name}").dispatchEvent(new Event("input"));
    """


# Names on the page, in its order. `innerText` would be empty below the window's edge.
IDS = """[...grid.children].filter(card => card.offsetParent)
    .map(card => card.querySelector("b").textContent)"""


@pytest.mark.parametrize("width", [1200, 500])
def test_the_quality_page_filters_and_sorts(
    browser: str, quality: Config, tmp_path: Path, width: int
) -> None:
    volume = "[...field('order').options].find(o => o.text.startsWith('volume of the brain')).value"
    action = f"""
        all: {IDS},
        found: (() => {{ {choose("text", '"ONERROR"')} return {IDS}; }})(),
        labelled: (() => {{ {choose("text", '""')} {choose("label", '"x"')} return {IDS}; }})(),
        sorted: (() => {{ {choose("label", '""')} {choose("order", volume)} return {IDS}; }})(),
        values: [...grid.querySelectorAll(".n")].map(value => value.textContent),
    """
    seen = look(browser, quality.cache / "qc.html", tmp_path, width, action)
    assert seen["errors"] == []
    assert seen["spill"] <= 0
    assert seen["broken"] == 0
    assert seen["all"] == ["a", ODD, "c", "d"]
    assert seen["found"] == [ODD]
    assert seen["labelled"] == ["a", "c"]
    assert seen["sorted"] == [ODD, "c", "a", "d"]
    values = [int(value.removesuffix(" ml")) for value in seen["values"]]
    assert values == sorted(values)


def test_what_is_ticked_comes_back_as_a_table_of_exclusions(
    browser: str, quality: Config, tmp_path: Path
) -> None:
    action = """
        empty: field("take").hidden,
        csv: (() => {
          for (const [place, reason] of [[3, ""], [1, 'moved, "much"']]) {
            const [check, text] = figures[place].querySelectorAll(".leave input");
            check.click();
            text.value = reason;
            text.dispatchEvent(new Event("input"));
          }
          return excludeCsv();
        })(),
        bar: field("take").innerText,
        marked: grid.querySelectorAll(".out").length,
        kept: localStorage.getItem(shelf),
    """
    seen = look(browser, quality.cache / "qc.html", tmp_path, 1200, action)
    assert seen["errors"] == []
    assert seen["empty"] is True
    rows = list(csv.DictReader(io.StringIO(seen["csv"])))
    assert rows == [
        {"subject_id": ODD, "reason": 'moved, "much"'},
        {"subject_id": "d", "reason": "left out on qc.html"},
    ]
    assert seen["marked"] == 2
    assert "2 to leave out" in seen["bar"]
    for words in (
        f"data.table={quality.data.table}",
        "data.exclude=exclude.csv",
        f"--root {quality.root}",
    ):
        assert words in seen["bar"]
    assert "onerror" not in seen["kept"]  # the browser keeps keys, no names


@pytest.mark.parametrize("width", [1200, 500])
def test_the_viewer_draws_a_subject_and_goes_on_to_the_next(
    browser: str, quality: Config, tmp_path: Path, width: int
) -> None:
    keys = [row.key for row in read_index(quality.cache)]
    step = f"""
        {DRAWN}
        window.first = [dialog.dataset.shown, {LIT}, field("viewer-id").textContent];
        dialog.dispatchEvent(new KeyboardEvent("keydown", {{ key: "ArrowRight" }}));
        await new Promise(go => setTimeout(go, 300));
        {DRAWN}
    """
    action = f"""
        first, note: field("note").textContent, second: [dialog.dataset.shown, {LIT}],
        views: [...field("views").children].map(one => one.textContent),
        wide: dialog.scrollWidth - innerWidth, tall: field("canvas").clientHeight,
    """
    page = quality.cache / "qc.html"
    seen = look(browser, page, tmp_path, width, action, wait=step, anchor=f"#{keys[1]}")
    assert seen["errors"] == []
    assert seen["note"] == ""
    assert seen["views"] == ["as found", "stored"]
    assert (seen["first"][0], seen["second"][0]) == (keys[1], keys[2])
    assert seen["first"][2] == ODD
    assert min(seen["first"][1], seen["second"][1]) > 0.05
    assert seen["wide"] <= 0
    assert seen["tall"] > 300


def test_a_page_without_its_folders_says_what_the_viewer_lacks(
    browser: str, quality: Config, tmp_path: Path
) -> None:
    alone = tmp_path / "alone" / "qc.html"
    alone.parent.mkdir()
    shutil.copyfile(quality.cache / "qc.html", alone)
    key = read_index(quality.cache)[0].key
    wait = "await new Promise(go => setTimeout(go, 500));"
    action = 'note: field("note").textContent,'
    seen = look(browser, alone, tmp_path, 1200, action, wait=wait, anchor=f"#{key}")
    assert "must lie beside this page" in seen["note"]
