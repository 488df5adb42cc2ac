"""The pages people read, in a real browser: scripts run, and nothing spills out of the window."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from preprocessing import build, cohorts
from stfmri.collect import collect
from stfmri.study.config import Config
from tests.conftest import skip_or_fail
from tests.evidence.sweeps import make_sweep
from tests.preprocessing.conftest import cohort  # noqa: F401 - a fixture

# Run by the page itself when it has loaded: what it saw becomes its title, which is printed.
PROBE = """
<script>
addEventListener("load", () => {
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


def look(browser: str, page: Path, tmp_path: Path, width: int, action: str = "") -> dict[str, int]:
    """What a probe at the end of the page sees in a window of this width, in pixels."""
    text = page.read_text(encoding="utf-8")
    copy = tmp_path / f"probed-{width}.html"
    copy.write_text(text.replace("<head>", "<head>" + LISTEN, 1) + PROBE.replace("ACTION", action))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1200"]
    command += ["--virtual-time-budget=2000", "--dump-dom", copy.as_uri()]
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


def test_the_quality_page_opens_and_its_filter_finds_a_subject(
    browser: str,
    cohort: Callable[..., Config],  # noqa: F811
    tmp_path: Path,
) -> None:
    config = cohort(count=3)
    scans = cohorts.find_scans(config.data)
    build.build(config, scans, jobs=1)
    visible = "[...document.querySelectorAll('#grid > *')].filter(card => card.offsetParent).length"
    search = f"""
        all: {visible},
        found: (() => {{
          const field = document.getElementById("text");
          field.value = {json.dumps(scans[0].subject_id)};
          field.dispatchEvent(new Event("input"));
          return {visible};
        }})(),
    """
    seen = look(browser, config.cache / "qc.html", tmp_path, 1000, search)
    assert seen["errors"] == []
    assert seen["spill"] <= 0
    assert seen["broken"] == 0
    assert (seen["all"], seen["found"]) == (3, 1)
