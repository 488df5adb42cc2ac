"""What squeue prints, and what it needs to be asked."""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from slurm import queue
from slurm.errors import ClusterError
from slurm.queue import (
    Job,
    JobState,
    alive,
    has_slurm,
    jobs_in,
    max_array_size,
    outside_any_job,
    remembered,
    seconds,
)


def install(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!{sys.executable}\n{script}")
    program.chmod(0o700)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH on which only the test's own programs are, and no pauses."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(queue, "PAUSE_S", 0.0)
    return tmp_path


@pytest.mark.parametrize("text", ["123", "123_0", "123_45"])
def test_a_job_reads_back_as_squeue_prints_it(text: str) -> None:
    assert str(Job.parse(text)) == text


@pytest.mark.parametrize("text", ["", "123_[0-3]", "x", "1_2_3"])
def test_what_is_no_single_job_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a job"):
        Job.parse(text)


def test_durations_are_read_in_all_of_slurms_forms() -> None:
    assert seconds("0:07") == 7
    assert seconds("59:00") == 59 * 60
    assert seconds("23:00:01") == 23 * 3600 + 1
    assert seconds("2-01:00:00") == 2 * 86400 + 3600
    assert seconds("UNLIMITED") is None
    assert seconds("NOT_SET") is None


HEADER = "ARRAY_JOB_ID|ARRAY_TASK_ID|STATE|START_TIME|TIME_LEFT|REASON|WORK_DIR"


def test_a_line_of_the_queue_becomes_a_job_and_its_state(programs: Path) -> None:
    lines = (
        "12|3|RUNNING|2026-03-01T10:00:00|1:00|None|/a|b\\n14|N/A|PENDING|N/A|2:00|Priority|/c d"
    )
    install(programs, "squeue", f"print('Welcome!\\n{HEADER}\\n{lines}')")
    assert alive() == {
        Job("12", 3): JobState("RUNNING", "None", datetime(2026, 3, 1, 10), 60, Path("/a|b")),
        Job("14"): JobState("PENDING", "Priority", None, 120, Path("/c d")),
    }
    assert jobs_in(Path("/c d")) == ["14"]
    assert jobs_in(Path("/")) == ["12", "14"]
    assert jobs_in(Path("/c")) == []


def test_a_busy_cluster_is_asked_again(programs: Path) -> None:
    failed = programs / "failed"
    install(
        programs,
        "squeue",
        f"import pathlib, sys\np = pathlib.Path({str(failed)!r})\n"
        "if not p.exists():\n    p.touch()\n"
        "    sys.exit('Socket timed out on send/recv operation')\n"
        f"print('{HEADER}')",
    )
    assert alive() == {}
    assert failed.exists()


def test_a_cluster_that_does_not_answer_is_an_error_with_its_words(programs: Path) -> None:
    install(programs, "squeue", "import sys\nsys.exit('Unable to contact slurm controller')")
    with pytest.raises(ClusterError, match="'squeue': Unable to contact slurm controller"):
        alive()


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ("", "it printed nothing at all"),
        ("print('<html>502</html>')", "it printed '<html>502</html>'"),
        ("import sys; sys.stdout.buffer.write(bytes(range(128, 256)))", "it printed '"),
        (f"print('{HEADER}\\nslurm_load_jobs: trouble')", "found 'slurm_load_jobs: trouble'"),
        (f"print('{HEADER}\\n12|3|RUNN')", "found '12|3|RUNN'"),  # cut off
    ],
)
def test_what_is_no_queue_is_not_taken_for_an_empty_one(
    programs: Path, printed: str, found: str
) -> None:
    install(programs, "squeue", printed)
    with pytest.raises(ClusterError) as error:
        alive()
    assert found in str(error.value)


def test_warnings_and_the_users_own_filters_change_nothing(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQUEUE_PARTITION", "other")
    install(
        programs,
        "squeue",
        "import os, sys\nprint('squeue: warning: deprecated', file=sys.stderr)\n"
        f"print('{HEADER}')\n"
        "print('12|N/A|' + os.environ.get('SQUEUE_PARTITION', 'RUNNING') + '|N/A|1:00|None|/a')",
    )
    assert alive()[Job("12")].state == "RUNNING"


def test_a_slow_cluster_is_given_up_after_its_time(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "PATIENCE_S", 0.3)
    install(programs, "squeue", "import time\ntime.sleep(20)")
    began = time.monotonic()
    with pytest.raises(ClusterError, match=r"'squeue': no answer in 0.3 s"):
        alive()
    assert time.monotonic() - began < 10


def test_slurm_remembers_how_jobs_ended_the_controller_better_than_accounting(
    programs: Path,
) -> None:
    told = "12_3|CANCELLED by 1000\\n12_[4-7]|PENDING\\n14|TIMEOUT\\n15|COMPLETED"
    install(programs, "sacct", f"print('{told}')")
    lines = "12|3|PREEMPTED|N/A|0:00|None|/a\\n16|N/A|RUNNING|N/A|0:00|None|/a"
    install(programs, "squeue", f"print('{HEADER}\\n{lines}')")
    asked = [Job("12", 3), Job("12", 4), Job("14")]
    since = datetime(2026, 3, 1)
    assert remembered(asked, since) == {Job("12", 3): "PREEMPTED", Job("14"): "TIMEOUT"}
    for name in ("sacct", "squeue"):
        install(programs, name, "raise SystemExit('Slurm accounting storage is disabled')")
    assert remembered(asked, since) == {}


def test_without_slurm_the_error_says_what_to_do(programs: Path) -> None:
    assert not has_slurm()
    with pytest.raises(ClusterError, match="pass cluster=local"):
        max_array_size()


def test_the_size_of_arrays_is_read_from_the_configuration(programs: Path) -> None:
    install(programs, "scontrol", "print('MaxArraySize            = 73\\nMaxJobCount = 9')")
    assert max_array_size() == 73


def test_a_surrounding_job_is_hidden_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    before = dict(os.environ)
    with outside_any_job():
        assert set(before) - set(os.environ) >= {
            "SLURM_JOB_ID",
            "SUBMITIT_EXECUTOR",
            "CUDA_VISIBLE_DEVICES",
        }
        assert os.environ["SLURM_CONF"] == "/etc/slurm.conf"
    assert dict(os.environ) == before


def test_outside_a_job_the_users_choice_of_gpus_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    with outside_any_job():
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"
