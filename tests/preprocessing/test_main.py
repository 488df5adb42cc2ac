from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from preprocessing.__main__ import main
from stfmri.study.config import Config
from stfmri.study.errors import exit_on_error
from stfmri.study.shards import read_index
from tests.preprocessing.conftest import brain_values, write_scan


def call(config: Config, *more: str) -> int:
    arguments = [f"data.table={config.data.table}", "data.name=small", "preprocessing=mm8"]
    return exit_on_error(main)(
        ["--root", config.root, "--jobs", "1", "data=table", *arguments, *more]
    )


def test_status_0_when_all_scans_are_kept_and_1_when_some_are_rejected(
    cohort: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = cohort(count=3)
    assert call(config) == 0
    said = capsys.readouterr().err
    assert "3, 3 of them built now" in said
    assert str(config.cache / "qc.html") in said
    (tmp_path / "scans" / "s1.nii.gz").write_bytes(b"")
    assert call(config) == 1
    assert "rejected s1: the file is empty" in capsys.readouterr().err
    assert len(read_index(config.cache)) == 2


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.table=none.csv", "there is no file"),
        ("data.tabel=x.csv", "did you mean data.table"),
        ("data.label=sex", "lacks the column sex"),
        ("data.classes=[a]", "does not name: b"),
        ("preprocessing.spacing_mm=0", "must lie in"),
        ("preprocessing.skullstrip=bet", "must be one of"),
    ],
)
def test_a_wrong_call_gets_one_line_and_status_2(
    cohort: Callable[..., Config], capsys: pytest.CaptureFixture[str], override: str, said: str
) -> None:
    assert call(cohort(count=2), override) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1


def test_an_interrupted_command_leaves_no_process_and_goes_on_where_it_stopped(
    cohort: Callable[..., Config], tmp_path: Path
) -> None:
    config = cohort(count=40, shard_volumes=4)
    arguments = [f"data.table={config.data.table}", "data.name=small", "preprocessing=mm8"]
    command = [sys.executable, "-m", "preprocessing", "--root", config.root, "--jobs", "2"]
    overrides = ["data=table", *arguments, "preprocessing.shard_volumes=4"]
    running = subprocess.Popen([*command, *overrides], start_new_session=True)
    while not list(config.cache.glob("shard-*.h5")):
        assert running.poll() is None, "it ended before a shard was there"
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)  # the main process alone
    running.wait()
    kept = len(list((config.cache / "qc").glob("*.json")))
    assert not (config.cache / "index.csv").exists()
    deadline = time.monotonic() + 20
    while _alive(running.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(running.pid)
    assert call(config) == 0
    assert kept >= 4
    assert len(read_index(config.cache)) == 40


def _alive(session: int) -> list[int]:
    """Processes of a session that have not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(folder.name))
    return found


def test_a_build_that_another_holds_says_by_whom_and_ends_with_1(
    cohort: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    from stfmri.study.locks import lock

    config = cohort(count=2)
    with lock(config.cache):
        assert call(config) == 1
    assert f"process {os.getpid()}" in capsys.readouterr().err


def test_help_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys\n"
        "from preprocessing.__main__ import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "assert not {'torch', 'torchio', 'nibabel'} & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "examples:" in result.stdout


def test_blanks_and_umlauts_in_paths_work(cohort: Callable[..., Config], tmp_path: Path) -> None:
    folder = tmp_path / "Schädel (neu), a=b"
    write_scan(folder / "Kopf 1.nii.gz", brain_values(0))
    (folder / "liste.csv").write_text("subject_id,path,label,stripped\nö/1,Kopf 1.nii.gz,a,yes\n")
    config = cohort(count=1)
    assert call(config, f"data.table={folder / 'liste.csv'}") == 0
    assert read_index(config.cache)[0].subject_id == "ö/1"
