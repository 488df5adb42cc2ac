"""Callables run on this machine, a bounded number at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slurm import endings, local
from slurm.errors import ClusterError
from slurm.local import run_local
from tests.slurm import calls
from tests.slurm.conftest import lines_of, wait_for


def test_a_failing_and_a_killed_call_do_not_stop_the_others(tmp_path: Path, workdir: Path) -> None:
    told: list[tuple[int, str]] = []
    outcomes = run_local(
        [
            calls.Report(tmp_path / "0", fail=True),
            calls.KillItself(),
            calls.Report(tmp_path / "2"),
        ],
        limit=2,
        folder=tmp_path / "logs",
        workdir=workdir,
        on_change=lambda index, state: told.append((index, state)),
    )
    assert outcomes[0].error == "ValueError: asked to fail at 0"
    # The warning that it printed before is not what ended it.
    assert outcomes[1].error is not None
    assert "killed by SIGKILL" in outcomes[1].error
    assert (outcomes[2].error, outcomes[2].result) == (None, "2")
    assert sorted(told) == [
        (0, "failed"), (0, "running"), (1, "failed"), (1, "running"), (2, "done"), (2, "running"),
    ]  # fmt: skip
    seen = json.loads((tmp_path / "2").read_text())
    assert seen["cwd"] == str(workdir)
    assert seen["code"].startswith(str(workdir))
    assert outcomes[0].log.stat().st_size > 0


def test_the_working_directorys_code_is_run_where_python_would_not_look_there(
    tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    report = calls.Report(tmp_path / "0")
    [outcome] = run_local([report], limit=1, folder=tmp_path / "logs", workdir=workdir)
    assert outcome.error is None
    assert json.loads((tmp_path / "0").read_text())["code"].startswith(str(workdir))


def test_what_ended_a_process_is_told_by_its_exit_status_and_not_by_what_it_printed_earlier(
    tmp_path: Path, workdir: Path
) -> None:
    outcomes = run_local(
        [calls.Leave(2), calls.Crash(), calls.CaughtThenKilled()],
        limit=3,
        folder=tmp_path / "logs",
        workdir=workdir,
    )
    left, crashed, killed = (outcome.error or "" for outcome in outcomes)
    assert left == (
        "ended without a word, with exit status 2; the last line of its log: FATAL ERROR: cannot "
        "load libx.so"
    )
    assert crashed == "Fatal Python error: Segmentation fault"
    assert killed.startswith(("killed by SIGKILL", "probably out of memory"))
    assert endings.of_error(left) is endings.of_error(crashed) is None


def test_memory_that_another_process_wanted_long_before_is_not_what_killed_a_run(
    tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    monkeypatch.setattr(local, "oom_kills", lambda: int(time.monotonic() > began + 0.2))
    [killed] = run_local(
        [calls.KillItself(after_s=2)], limit=1, folder=tmp_path / "logs", workdir=workdir
    )
    assert killed.error == "killed by SIGKILL, by somebody or for want of memory"


@pytest.mark.parametrize(
    ("before", "now", "told", "ending"),
    [
        (3, 4, "probably out of memory: killed by SIGKILL while the kernel", "out of memory"),
        (3, 3, "killed by SIGKILL, by somebody or for want of memory", "killed"),
        (None, None, "killed by SIGKILL, by somebody or for want of memory", "killed"),
    ],
)
def test_a_killed_process_is_called_out_of_memory_only_where_the_kernel_counted_one(
    before: int | None, now: int | None, told: str, ending: str
) -> None:
    line = local._as_killed(before, now)
    assert line.startswith(told)
    found = endings.of_error(line)
    assert found is not None
    assert found.name == ending


def test_never_more_than_the_limit_run_at_a_time(tmp_path: Path, workdir: Path) -> None:
    marks = tmp_path / "marks"
    outcomes = run_local(
        [calls.Overlap(marks)] * 4, limit=2, folder=tmp_path / "logs", workdir=workdir
    )
    assert [outcome.error for outcome in outcomes] == [None] * 4
    lines = marks.read_text().splitlines()
    events = sorted((float(line.split()[0]), int(line.split()[1])) for line in lines)
    at_a_time, most = 0, 0
    for _, change in events:
        at_a_time += change
        most = max(most, at_a_time)
    assert most == 2


def test_each_process_gets_a_gpu_in_turn_and_its_share_of_the_cpus(
    tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    files = [tmp_path / "0", tmp_path / "1"]
    reports = [calls.Report(file) for file in files]
    run_local(reports, limit=2, folder=tmp_path / "logs", workdir=workdir, gpus=["GPU-a", "GPU-b"])
    seen = [json.loads(file.read_text()) for file in files]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in seen] == ["GPU-a", "GPU-b"]
    share = str(max(1, len(os.sched_getaffinity(0)) // 2))
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        assert {one[name] for one in seen} == {share}


def test_the_caller_may_say_how_many_threads_each_process_has(
    tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    report = calls.Report(tmp_path / "0")
    run_local([report], limit=1, folder=tmp_path / "logs", workdir=workdir, threads=3)
    seen = json.loads(report.path.read_text())
    assert (seen["OMP_NUM_THREADS"], seen["SLURM_CPUS_PER_TASK"]) == ("3", "3")


def test_without_gpus_to_hand_out_all_stay_visible(
    tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    report = calls.Report(tmp_path / "0")
    run_local([report], limit=1, folder=tmp_path / "logs", workdir=workdir)
    assert json.loads(report.path.read_text())["CUDA_VISIBLE_DEVICES"] is None


MAIN = """
import sys
from pathlib import Path
from slurm.local import run_local
from tests.slurm import calls

folder = Path(sys.argv[1])
run_local(
    [calls.Sleep(folder / str(index)) for index in range(3)],
    limit=2, folder=folder / "logs", workdir=Path.cwd(),
)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_running_processes_and_starts_no_more(
    tmp_path: Path, number: signal.Signals
) -> None:
    main = subprocess.Popen(
        [sys.executable, "-c", MAIN, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for(lambda: lines_of(tmp_path / "0") and lines_of(tmp_path / "1"))
    began = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(main.pid, number)  # a terminal sends it to the whole group
    else:
        main.send_signal(number)
    main.communicate(timeout=20)
    assert main.returncode == (-number if number == signal.SIGINT else 128 + number)
    assert time.monotonic() - began < 8
    assert lines_of(tmp_path / "0") == lines_of(tmp_path / "1") == ["begin", "end"]
    assert not (tmp_path / "2").exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(main.pid, 0)  # nobody of its group is left


def test_killing_the_launcher_ends_what_it_started(tmp_path: Path) -> None:
    main = subprocess.Popen(
        [sys.executable, "-c", MAIN, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )
    wait_for(lambda: lines_of(tmp_path / "0") and lines_of(tmp_path / "1"))
    main.kill()
    assert main.wait() == -signal.SIGKILL
    for name in ("0", "1"):
        wait_for(lambda name=name: lines_of(tmp_path / name) == ["begin", "end"])
    assert not (tmp_path / "2").exists()


def test_a_limit_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="must be at least 1; found 0"):
        run_local([], limit=0, folder=tmp_path, workdir=tmp_path)
