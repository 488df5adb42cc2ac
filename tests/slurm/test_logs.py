"""The one line of a log that tells why a job failed."""

from __future__ import annotations

from pathlib import Path

from slurm.logs import error_in, last_error_line, last_words, log_paths
from slurm.queue import Job

ATTEMPT = "----- attempt {} on n1 at 2026-01-01 00:00:00\n"
CHAINED = """Traceback (most recent call last):
  File "a.py", line 1, in <module>
    x
KeyError: 'a'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "b.py", line 1, in <module>
    y
stfmri.study.errors.UserError: data/index.csv: no such file
  a second line of the message
srun: error: n1: task 0: Exited with exit code 1
"""


def test_the_exception_of_the_last_traceback_tells() -> None:
    assert error_in(ATTEMPT.format(1) + CHAINED) == (
        "stfmri.study.errors.UserError: data/index.csv: no such file"
    )


def test_a_crash_is_told_by_its_first_line() -> None:
    crash = (
        "Fatal Python error: Segmentation fault\n\nCurrent thread 0x7 (most recent call first):\n"
        '  File "x.py", line 3 in f\n\nExtension modules: numpy, torch (total: 2)\n'
    )
    told = "Fatal Python error: Segmentation fault"
    assert error_in(ATTEMPT.format(1) + crash + "srun: error: n1: task 0: Exited\n") == told
    assert error_in(CHAINED + crash) == told
    assert error_in(crash + CHAINED) == error_in(CHAINED)  # of a worker process


def test_slurms_own_words_come_before_the_exception_they_caused() -> None:
    killed = "slurmstepd-n1: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-01 DUE TO TIME LIMIT ***\n"
    assert error_in(ATTEMPT.format(1) + killed + CHAINED) == (
        "JOB 7 ON n1 CANCELLED AT 2026-01-01 DUE TO TIME LIMIT"
    )
    oom = "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0. Some of your processes\n"
    assert error_in(CHAINED + oom) == (
        "Detected 1 oom-kill event(s) in StepId=7.0. Some of your processes"
    )


def test_earlier_attempts_do_not_count() -> None:
    assert error_in(ATTEMPT.format(1) + CHAINED + ATTEMPT.format(2) + "fine\n") == "fine"
    requeued = "slurmstepd-n1: error: *** JOB 7 ON n1 CANCELLED AT x DUE TO JOB REQUEUE ***\n"
    assert error_in(ATTEMPT.format(1) + requeued + ATTEMPT.format(2)) is None


def test_a_failure_before_python_starts_is_told_by_the_shell() -> None:
    shell = "/var/spool/job7/slurm_script: line 12: module: command not found\n"
    assert error_in(shell + "srun: error: n1: task 0: Exited\n") == shell.strip()


def test_chatter_is_no_error_and_a_missing_log_is_none(tmp_path: Path) -> None:
    chatter = "submitit WARNING (2026-01-01) - Bypassing signal SIGCONT\n\n"
    assert error_in(ATTEMPT.format(1) + chatter) is None
    assert last_error_line(tmp_path, Job("7", 3)) is None


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "7_3_0_log.err"
    log.write_text("x" * 300_000 + "\nValueError: early\n" + "step\n" * 60_000 + CHAINED)
    assert last_error_line(tmp_path, Job("7", 3)) == (
        "stfmri.study.errors.UserError: data/index.csv: no such file"
    )


def test_the_last_words_of_a_process_are_its_exception_its_crash_or_the_signal_it_acted_on(
    tmp_path: Path,
) -> None:
    log = log_paths(tmp_path, Job("7"))[1]
    for text, told in (
        ("UserWarning: of no account\n", None),
        (CHAINED, "stfmri.study.errors.UserError: data/index.csv: no such file"),
        (CHAINED + "epoch 1\n", None),
        (CHAINED + "ended by SIGTERM\n", "ended by SIGTERM"),
        ("a warning\nended by SIGTERM\n", "ended by SIGTERM"),
        (
            "Fatal Python error: Segmentation fault\n\nThread 1:\n",
            "Fatal Python error: Segmentation fault",
        ),
    ):
        log.write_text(ATTEMPT.format(1) + text)
        assert last_words(tmp_path, Job("7")) == told
