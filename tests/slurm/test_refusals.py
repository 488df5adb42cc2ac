"""Submissions that a cluster refuses, wholly or in part; stand-ins answer instead of a cluster."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from slurm.errors import ClusterError
from slurm.executor import Resources, SubmissionError, submit_array
from slurm.queue import Job

QUICK = Resources(time_min=1)


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster with arrays of two tasks that accepts one job and then refuses."""
    programs = tmp_path / "programs"
    programs.mkdir()
    accepted = programs / "accepted"
    scripts = {
        "srun": "",
        "scontrol": "print('MaxArraySize = 2')",
        "sbatch": (
            f"import pathlib, sys\np = pathlib.Path({str(accepted)!r})\n"
            "if p.exists():\n    sys.exit('sbatch: error: QOSMaxSubmitJobPerUserLimit\\n"
            "sbatch: error: Batch job submission failed: Job violates accounting policy')\n"
            "p.touch()\nprint('Submitted batch job 41')"
        ),
    }
    for name, script in scripts.items():
        (programs / name).write_text(f"#!{sys.executable}\n{script}\n")
        (programs / name).chmod(0o700)
    monkeypatch.setenv("PATH", str(programs))
    return programs


def test_a_refusal_halfway_tells_which_jobs_are_in_the_queue(
    stand_ins: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logs = tmp_path / "logs"
    with pytest.raises(SubmissionError) as refused:
        submit_array([print] * 4, QUICK, folder=logs, name="part", workdir=tmp_path)
    assert refused.value.submitted == (Job("41", 0), Job("41", 1))
    assert "QOSMaxSubmitJobPerUserLimit; Batch job submission failed" in str(refused.value)
    kept = sorted(path.name for path in logs.iterdir() if not path.is_symlink())
    assert kept == ["41_0_submitted.pkl", "41_1_submitted.pkl", "41_submission.sh"]
    assert capfd.readouterr().err == ""


def test_names_that_could_reach_a_shell_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="a job's name must be"):
        submit_array([print], QUICK, folder=tmp_path, name="a b;c", workdir=tmp_path)
    with pytest.raises(ClusterError, match="account must not hold line breaks"):
        Resources(time_min=1, account="x\nrm -r y")
    with pytest.raises(ClusterError, match="time_min must be a whole number"):
        Resources(time_min=0)


@pytest.mark.parametrize(
    ("folder", "workdir", "words"),
    [
        ("a%b", ".", "must not hold '%'"),
        ("a\nb", ".", "must not hold line breaks"),
        ("logs", "nowhere", "found no folder at"),
    ],
)
def test_folders_that_cannot_work_are_refused(
    tmp_path: Path, folder: str, workdir: str, words: str
) -> None:
    with pytest.raises(ClusterError, match=words):
        submit_array([print], QUICK, folder=tmp_path / folder, name="x", workdir=tmp_path / workdir)


def test_nothing_to_submit_asks_nothing_of_the_cluster(tmp_path: Path) -> None:
    assert submit_array([], QUICK, folder=tmp_path, name="x", workdir=tmp_path) == []
