"""What the end of a job is called, by SLURM's state, by its words in a log, by an error."""

from __future__ import annotations

import pytest

from slurm.endings import ENDINGS, in_lines, of_error, of_state

TIME = "submitit WARNING (2026-01-01 00:00:00) - Caught signal: this job is timed-out."
MEMORY = "slurmstepd-n1: error: StepId=2.0 exceeded memory limit (2 > 1), being killed"
CANCELLED = "slurmstepd-n1: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-01T00:00:00"


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ([f"{CANCELLED} ***"], "cancelled"),
        ([f"{CANCELLED} DUE TO TIME LIMIT ***"], "timed out"),
        ([f"{CANCELLED} DUE TO PREEMPTION ***"], "preempted"),
        ([f"{CANCELLED} DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***"], "lost its node"),
        ([f"{CANCELLED} DUE TO JOB REQUEUE ***"], "requeued"),
        (["srun: error: n1: task 0: Killed"], "killed"),
        ([TIME, "srun: error: n1: task 0: Killed"], "timed out"),
        (["slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0."], "out of memory"),
        (
            [MEMORY, f"{CANCELLED} ***"],
            "out of memory",
        ),
        (
            [TIME, f"{CANCELLED} DUE TO JOB REQUEUE ***"],
            "timed out",
        ),
        (
            [TIME, f"{CANCELLED} DUE TO PREEMPTION ***"],
            "preempted",  # submitit takes every early signal for a time-out
        ),
    ],
)
def test_a_log_names_the_end_that_tells_most(lines: list[str], name: str) -> None:
    found = in_lines(["loss 0.5", *lines, "srun: error: n1: task 0: Terminated"])
    assert found is not None
    assert found[0].name == name


@pytest.mark.parametrize("line", ["loss 0.5", "print: JOB 7 CANCELLED AT noon", "out of memory"])
def test_only_slurms_own_lines_count(line: str) -> None:
    assert in_lines([line]) is None


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ("MemoryError", "out of memory"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "out of memory"),
        ("OSError: [Errno 28] No space left on device: 'a'", "disk full"),
        ("OSError: [Errno 27] File too large", "disk full"),
        ("stfmri.study.errors.DivergedError: the loss is nan", None),
    ],
)
def test_an_error_of_the_run_names_its_end(error: str, name: str | None) -> None:
    found = of_error(error)
    assert (found and found.name) == name


def test_each_of_slurms_states_means_one_end() -> None:
    states = [state for ending in ENDINGS for state in ending.states]
    assert len(states) == len(set(states))
    named = {state: of_state(state) for state in ("CANCELLED", "OUT_OF_MEMORY", "COMPLETED")}
    assert [ending and ending.name for ending in named.values()] == [
        "cancelled",
        "out of memory",
        None,
    ]
