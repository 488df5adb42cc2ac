"""jobs.csv remembers which job a run was handed to."""

from __future__ import annotations

from pathlib import Path

from stfmri.study.jobs import Submission, append_jobs, last_jobs, now


def test_the_last_line_of_a_run_counts(tmp_path: Path) -> None:
    append_jobs(
        tmp_path, [Submission("a/fold0", "7", 0, now()), Submission("b/fold0", "7", 1, "t")]
    )
    append_jobs(tmp_path, [Submission("a/fold0", "9", None, "t")])
    assert last_jobs(tmp_path) == {
        "a/fold0": Submission("a/fold0", "9", None, "t"),
        "b/fold0": Submission("b/fold0", "7", 1, "t"),
    }
    lines = (tmp_path / "jobs.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "run,job_id,array_index,submitted_at"
    assert len(lines) == 4


def test_a_line_that_a_full_disk_cut_off_spoils_no_other(tmp_path: Path) -> None:
    append_jobs(tmp_path, [Submission("a/fold0", "7", 0, "t")])
    with (tmp_path / "jobs.csv").open("ab") as file:
        file.write(b"b/fold0,8\xff")
    append_jobs(tmp_path, [Submission("c/fold0", "9", 3, "t")])
    with (tmp_path / "jobs.csv").open("a") as file:
        file.write("d/fold0,1x,zero,t\ne/fold0,10")
    assert list(last_jobs(tmp_path)) == ["a/fold0", "c/fold0"]
    assert last_jobs(tmp_path)["c/fold0"] == Submission("c/fold0", "9", 3, "t")
