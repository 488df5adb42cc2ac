"""How far each run of a sweep is, from its own files, its lock and one call of squeue."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from slurm.logs import CAUSE, error_in, last_error_line
from slurm.queue import Job, JobState, alive, has_slurm
from stfmri.study import history, locks, selection
from stfmri.study.runs import Run, Submission, Sweep, last_jobs

LOGS = "logs"  # in the sweep's folder: what SLURM and submitit write
ERROR_LOG = "train.err"  # in the run's folder: the standard error of its last attempt
OUTPUT_LOG = "train.out"  # beside it, of a run that shares its job with others

DONE, RUNNING, PENDING = "done", "running", "pending"
FAILED, STOPPED, NEW = "failed", "stopped", "not submitted"
ALIVE = (RUNNING, PENDING)


@dataclass(frozen=True)
class RunState:
    """A run, and how far it is.

    Attributes:
        state: done; running; pending; failed (its job or process ended with an error); stopped
            (it ended without one, say by scancel or a full node); not submitted.
        job: its last job, if it ever had one.
        queue: what squeue says of that job, while it is alive.
        holder: the live process that trains it, as its lock tells.
        inner: of its candidates' runs, while it has still to choose among them.
    """

    run: Run
    state: str
    job: Submission | None = None
    queue: JobState | None = None
    holder: locks.Holder | None = None
    inner: tuple[RunState, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Whether submitting it again would start it twice."""
        return self.state in ALIVE

    @property
    def is_to_do(self) -> bool:
        """Whether submitting the sweep submits it."""
        return self.state != DONE and not self.is_alive

    @property
    def tasks(self) -> list[Run]:
        """What submitting the sweep submits of it: inner runs first, which it chooses by.

        A run that is alive brings the inner runs to their end that nobody trains.
        """
        if not self.is_to_do:
            return []
        return [state.run for state in self.inner if state.is_to_do] + [self.run]

    @property
    def choosing(self) -> str:
        """How many of its candidates have been judged, in words; "" where it does not choose."""
        if not self.inner:
            return ""
        done = sum(state.state == DONE for state in self.inner)
        at_work = sum(state.state == RUNNING for state in self.inner)
        more = f", {at_work} in training" if at_work else ""
        return f"chooses: {done} of {len(self.inner)} candidates judged{more}"

    @property
    def job_text(self) -> str:
        """The job as squeue prints it; "" without one."""
        return "" if self.job is None else str(job_of(self.job))


def states_of(sweep: Sweep) -> list[RunState]:
    """The state of every run; asks the queue once, and only if a job may be alive.

    Raises:
        ClusterError: where SLURM does not say which jobs are alive.
    """
    last = last_jobs(sweep.folder)
    unfinished = {run.name: _to_choose(sweep, run) for run in sweep.all_runs if not run.is_done()}
    names = [*unfinished, *(run.name for inner in unfinished.values() for run in inner)]
    asked = any(name in last for name in names) and has_slurm()
    queue = alive() if asked else {}

    def state_of(run: Run) -> RunState:
        job = last.get(run.name)
        done = run.is_done() if run.candidate else run.name not in unfinished
        if done:
            return RunState(run, DONE, job)
        found = _state(run, job, queue, sweep.folder)
        return replace(found, inner=tuple(map(state_of, unfinished.get(run.name, ()))))

    return [state_of(run) for run in sweep.all_runs]


def _to_choose(sweep: Sweep, run: Run) -> list[Run]:
    """The inner runs of a run that has not chosen yet."""
    if not sweep.candidates or (run.folder / selection.FILE_NAME).is_file():
        return []
    return sweep.inner_runs(run)


def _state(
    run: Run, job: Submission | None, queue: dict[Job, JobState], sweep_folder: Path
) -> RunState:
    queued = queue.get(job_of(job)) if job is not None else None
    holder = locks.holder(run.folder)
    if queued is not None and queued.state == "PENDING":
        return RunState(run, PENDING, job, queued, holder)
    if queued is not None or holder is not None:
        return RunState(run, RUNNING, job, queued, holder)
    if why_failed(run, job, sweep_folder) is not None:
        return RunState(run, FAILED, job)
    if job is not None or (run.folder / history.FILE_NAME).exists():
        return RunState(run, STOPPED, job)
    return RunState(run, NEW)


def job_of(line: Submission) -> Job:
    """The job that a line of jobs.csv names."""
    return Job(line.job_id, line.array_index)


def why_failed(run: Run, job: Submission | None, sweep_folder: Path) -> str | None:
    """The line that tells best why the run's last attempt failed; None where none does.

    What SLURM says of the job (time limit, memory) comes before what the run itself wrote.
    """
    told = None if job is None else last_error_line(sweep_folder / LOGS, job_of(job))
    if told is not None and CAUSE.search(told):
        return told
    try:
        own = error_in((run.folder / ERROR_LOG).read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        own = None
    return own or told
