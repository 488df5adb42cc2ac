"""A squeue that is slow, fails, warns, prints garbage or nothing changes no decision."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from launch import status, submit
from slurm import queue
from stfmri import collect
from stfmri.study.jobs import last_jobs
from stfmri.study.sweep_file import load_sweep
from tests.launch.conftest import submission

HEADER = "ARRAY_JOB_ID|ARRAY_TASK_ID|STATE|START_TIME|TIME_LEFT|REASON|WORK_DIR"
ALIVE = ("7|0|RUNNING|N/A|9:00|None|/a", "7|1|PENDING|N/A|9:00|Priority|/a")
COLLECTOR = "8|N/A|PENDING|N/A|9:00|Dependency|/a"
DONE = (
    "subject_id,patient_id,source,fold,split,label,prediction,prob_LGG,prob_HGG,prob_Healthy\n"
    "s,p,x,{fold},test,LGG,LGG,0.9,0.1,0.0\n"
)


class FakeCluster:
    """SLURM's clients as scripts, and how often each was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # submitit takes the number from this line; the first job is 7
        number = "6 + len(open(log).readlines())"
        self.install("sbatch", f"print('Submitted batch job', {number})")
        self.install("scontrol", "print('MaxArraySize = 1001')")
        self.install("sacct", "raise SystemExit('Slurm accounting storage is disabled')")
        self.install("srun", "")
        self.says(*ALIVE, COLLECTOR)

    def install(self, name: str, script: str) -> None:
        """A client; it writes a line for each call first."""
        program, log = self.folder / name, self.folder / f"{name}.calls"
        head = f"#!{sys.executable} -IS\nlog = {str(log)!r}\nprint('called', file=open(log, 'a'))\n"
        program.write_text(f"{head}{script}\n", encoding="utf-8")
        program.chmod(0o700)

    def says(self, *lines: str) -> None:
        """Let squeue list these jobs."""
        self.install("squeue", f"print({chr(10).join((HEADER, *lines))!r})")

    def calls(self, name: str) -> int:
        """How often a client was called."""
        log = self.folder / f"{name}.calls"
        return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(queue, "PAUSE_S", 0.0)
    return FakeCluster(folder)


def arguments(root: Path) -> list[str]:
    return submission(root, "cluster=slurm", "cluster.train.gres=null")


@pytest.fixture
def submitted(fake: FakeCluster, root: Path) -> Path:
    """Two runs as jobs 7_0, which runs, and 7_1, which waits; job 8 collects."""
    fake.says()
    assert submit.main(arguments(root)) == 0
    jobs = {str(line.job_id): line.array_index for line in last_jobs(root / "runs/demo").values()}
    assert jobs.keys() == {"7", "8"}
    fake.says(*ALIVE, COLLECTOR)
    return root


LISTED = "\\n".join((HEADER, *ALIVE, COLLECTOR))
DOUBTFUL = {
    "slow": "import time\ntime.sleep(20)",
    "fails": "raise SystemExit('slurm_load_jobs error: Unable to contact slurm controller')",
    "garbage": "import os\nos.write(1, bytes(range(128, 256)) + b'\\n<html>')",
    "empty": "",
}
CERTAIN = {
    "warns": f"import sys\nprint('squeue: warning: old', file=sys.stderr)\nprint('{LISTED}')",
}


def trouble(name: str, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "PATIENCE_S", 1.0 if name == "slow" else queue.PATIENCE_S)
    fake.install("squeue", (DOUBTFUL | CERTAIN)[name])


def states_told(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = status.main(["--sweep", "demo", "--root", str(root)])
    return code, " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", [*DOUBTFUL, *CERTAIN])
def test_submit_submits_nothing_that_may_be_alive(
    name: str,
    submitted: Path,
    fake: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trouble(name, fake, monkeypatch)
    before, jobs = fake.calls("sbatch"), (submitted / "runs/demo/jobs.csv").read_text()
    capsys.readouterr()
    began = time.monotonic()
    assert submit.main(arguments(submitted)) == (0 if name in CERTAIN else 1)
    assert time.monotonic() - began < 30
    said = capsys.readouterr()
    if name in CERTAIN:
        assert "nothing to submit" in said.out
    else:
        assert "2 runs may be alive, so nothing was submitted: " in said.err
        assert "squeue" in said.err
    assert fake.calls("sbatch") == before
    assert (submitted / "runs/demo/jobs.csv").read_text() == jobs


@pytest.mark.parametrize("name", [*DOUBTFUL, *CERTAIN])
def test_status_calls_what_may_be_alive_uncertain_and_says_why(
    name: str,
    submitted: Path,
    fake: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trouble(name, fake, monkeypatch)
    code, told = states_told(submitted, capsys)
    assert code == 1
    if name in CERTAIN:
        assert "2 runs: 1 running, 1 pending" in told
    else:
        assert "mc3_18-scratch/fold0 uncertain 0/2 job 7_0" in told
        assert "uncertain runs had a job, and count as alive: " in told
        assert "squeue" in told
        assert "2 runs: 2 uncertain" in told


@pytest.mark.parametrize("name", [*DOUBTFUL, *CERTAIN])
def test_collect_does_not_ask_the_queue(
    name: str,
    submitted: Path,
    fake: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def collected() -> tuple[int, str]:
        capsys.readouterr()
        code = collect.main(["--sweep", "demo", "--root", str(submitted)])
        return code, capsys.readouterr().err

    healthy, asked = collected(), fake.calls("squeue")
    trouble(name, fake, monkeypatch)
    assert collected() == healthy
    assert healthy[0] == 1
    assert fake.calls("squeue") == asked


def test_a_sweep_that_was_never_submitted_is_not_submitted_beside_a_queue_in_doubt(
    fake: FakeCluster, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.install("squeue", DOUBTFUL["empty"])
    assert submit.main(arguments(root)) == 1
    assert "squeue must print a header" in capsys.readouterr().err
    assert fake.calls("sbatch") == 0


def test_without_slurm_runs_that_were_submitted_elsewhere_are_uncertain(
    submitted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("launch.states.has_slurm", lambda: False)
    _, told = states_told(submitted, capsys)
    assert "2 runs: 2 uncertain" in told
    assert "delete jobs.csv" in told


def finish(root: Path, runs: Sequence[int]) -> None:
    for run in load_sweep(root / "runs/demo").runs:
        if run.fold in runs:
            (run.folder / "predictions.csv").write_text(DONE.format(fold=run.fold))


def test_a_collector_that_was_cancelled_is_submitted_again_and_only_that(
    submitted: Path, fake: FakeCluster
) -> None:
    def numbers() -> set[str]:
        return {line.job_id for line in last_jobs(submitted / "runs/demo").values()}

    finish(submitted, [0])
    fake.says(ALIVE[1], COLLECTOR)
    assert submit.main(arguments(submitted)) == 0
    assert numbers() == {"7", "8"}
    fake.says(ALIVE[1])  # its collector is gone
    assert submit.main(arguments(submitted)) == 0
    assert numbers() == {"7", "9"}
    finish(submitted, [0, 1])
    fake.says()
    assert submit.main(arguments(submitted)) == 0
    assert numbers() == {"7", "10"}


def test_a_job_cancelled_while_it_waited_is_called_that_by_slurms_word(
    submitted: Path, fake: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.says(ALIVE[0])
    fake.install("sacct", "print('7_0|RUNNING\\n7_1|CANCELLED by 0')")
    told = states_told(submitted, capsys)[1]
    assert "mc3_18-scratch/fold1 stopped: cancelled (job 7_1, it had not started)" in told
