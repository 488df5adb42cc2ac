"""How far each run of a sweep is, from its own files, its lock and one call of squeue."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from slurm import endings
from slurm.endings import Ending
from slurm.errors import ClusterError
from slurm.logs import error_in, last_ending, last_error_line, log_paths
from slurm.queue import Job, JobState, alive, has_slurm, remembered
from stfmri.study import history, locks, selection
from stfmri.study.jobs import JOBS_FILE, Submission, last_jobs
from stfmri.study.runs import Run, Sweep

LOGS = "logs"  # in the sweep's folder: what SLURM and submitit write
ERROR_LOG = "train.err"  # in the run's folder: the standard error of its last attempt
OUTPUT_LOG = "train.out"  # beside it, of a run that shares its job with others

NO_SLURM = (
    "some runs were submitted to a SLURM cluster, which this machine cannot ask; look from there, "
    f"or, once none of their jobs is alive, delete {JOBS_FILE} in the sweep's folder"
)

DONE, RUNNING, PENDING = "done", "running", "pending"
FAILED, STOPPED, NEW = "failed", "stopped", "not submitted"
WAITING = "waiting"  # for the process that submits runs, or starts them here in turn
UNCERTAIN = "uncertain"
# What nobody knows the end of may still be alive.
ALIVE = (RUNNING, PENDING, WAITING, UNCERTAIN)


@dataclass(frozen=True)
class End:
    """What is known of why a run's last attempt ended before its predictions.

    Attributes:
        line: that tells best; empty where none does.
        ending: what that is called; None for an error of the run's own.
        log: where more is to be read; None where nothing was written.
    """

    line: str = ""
    ending: Ending | None = None
    log: Path | None = None

    @property
    def state(self) -> str:
        """Failed, or stopped by something outside the run."""
        is_error = bool(self.line) if self.ending is None else self.ending.is_error
        return FAILED if is_error else STOPPED


@dataclass(frozen=True)
class RunState:
    """A run, and how far it is.

    Attributes:
        state: done; running; pending; waiting (a process submits the sweep, or starts its runs
            here in turn); failed (its job or process ended with an error); stopped (it ended
            without one, say by scancel or preemption); uncertain (it had a job, and the cluster
            does not say whether that is alive); not submitted.
        job: its last job, if it ever had one.
        queue: what squeue says of that job, while it is alive.
        holder: the live process that trains it, as its lock tells, or that will start it.
        inner: of its candidates' runs, while it has still to choose among them.
        end: of its last attempt, where that has ended; it may wait for the next one.
        doubt: why it is uncertain.
    """

    run: Run
    state: str
    job: Submission | None = None
    queue: JobState | None = None
    holder: locks.Holder | None = None
    inner: tuple[RunState, ...] = ()
    end: End | None = None
    doubt: str = ""

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
    def has_ended(self) -> bool:
        """Whether something is known of how its last attempt ended."""
        return self.end is not None and bool(self.end.ending or self.end.line)

    @property
    def has_ending(self) -> bool:
        """Whether that has a name, such as cancelled; by whom a signal came, SLURM may know."""
        return self.end is not None and self.end.ending not in (None, endings.KILLED)

    @property
    def job_text(self) -> str:
        """The job as squeue prints it; "" without one."""
        return "" if self.job is None else str(job_of(self.job))


def states_of(sweep: Sweep) -> list[RunState]:
    """The state of every run; asks the queue once, and only if a job may be alive.

    Where the queue does not answer, runs that had a job count as alive: they are uncertain.
    """
    last = last_jobs(sweep.folder)
    unfinished = {run.name: _to_choose(sweep, run) for run in sweep.all_runs if not run.is_done()}
    names = [*unfinished, *(run.name for inner in unfinished.values() for run in inner)]
    asked = any(name in last for name in names)
    queue, doubt = _ask_queue() if asked else ({}, "")
    launcher = launcher_of(sweep)

    def state_of(run: Run) -> RunState:
        job = last.get(run.name)
        done = run.is_done() if run.candidate else run.name not in unfinished
        if done:
            return RunState(run, DONE, job)
        found = _state(run, job, queue, sweep.folder, doubt)
        if launcher is not None and not found.is_alive:
            found = _in_turn(found, launcher)
        return replace(found, inner=tuple(map(state_of, unfinished.get(run.name, ()))))

    return [state_of(run) for run in sweep.all_runs]


def launcher_of(sweep: Sweep) -> locks.Holder | None:
    """The other live process that submits the sweep's runs, or starts them here in turn."""
    found = locks.holder(sweep.folder)
    mine = (os.getpid(), socket.gethostname())
    return None if found is None or (found.pid, found.host) == mine else found


def _in_turn(found: RunState, launcher: locks.Holder) -> RunState:
    """The state of a run that nobody holds, while a launcher lives that starts each run once."""
    since = _moment(launcher.since)
    if locks.was_held_elsewhere(found.run.folder, launcher.host, since.timestamp()):
        return found  # the launcher left it to that process, and starts it no more
    if not any(_is_newer(file, since) for file in _traces(found.run)):
        return RunState(found.run, WAITING, found.job, holder=launcher)
    if not found.has_ended:  # it has begun, and imports torch; the launcher writes how it ends
        return RunState(found.run, RUNNING, found.job, holder=launcher)
    return found


def _traces(run: Run) -> tuple[Path, ...]:
    """The files that only a run which began has: a killed process leaves its lock behind."""
    return tuple(run.folder / name for name in (ERROR_LOG, history.FILE_NAME, locks.FILE_NAME))


def doubts(states: Sequence[RunState]) -> list[str]:
    """Why some runs are uncertain, in a line; none where none is."""
    return list(
        dict.fromkeys(
            f"{UNCERTAIN} runs had a job, and count as alive: {state.doubt}"
            for state in states
            if state.doubt
        )
    )


def with_slurms_word(states: Sequence[RunState]) -> list[RunState]:
    """The states; of runs whose logs do not tell how they were ended, with what SLURM remembers."""
    unexplained = {
        job_of(state.job): state.job
        for state in states
        if state.job is not None and state.state in (FAILED, STOPPED) and not state.has_ending
    }
    if not unexplained or not has_slurm():
        return list(states)
    since = min(_moment(job.submitted_at) for job in unexplained.values())
    words = remembered(unexplained, since)

    def explained(state: RunState) -> RunState:
        if state.job is None or state.has_ending or job_of(state.job) not in unexplained:
            return state
        ending = endings.of_state(words.get(job_of(state.job), ""))
        if ending is None:
            return state
        end = replace(state.end or End(), ending=ending)
        return replace(state, end=end, state=end.state)

    return [explained(state) for state in states]


def _ask_queue() -> tuple[dict[Job, JobState], str]:
    """The jobs that are alive, and why that is uncertain; empty where it is not."""
    if not has_slurm():
        return {}, NO_SLURM
    try:
        return alive(), ""
    except ClusterError as error:
        return {}, str(error)


def _to_choose(sweep: Sweep, run: Run) -> list[Run]:
    """The inner runs of a run that has not chosen yet."""
    if not sweep.candidates or (run.folder / selection.FILE_NAME).is_file():
        return []
    return sweep.inner_runs(run)


def _state(
    run: Run,
    job: Submission | None,
    queue: dict[Job, JobState],
    sweep_folder: Path,
    doubt: str,
) -> RunState:
    queued = queue.get(job_of(job)) if job is not None else None
    holder = locks.holder(run.folder)
    if queued is not None and queued.state == "PENDING":
        return RunState(run, PENDING, job, queued, holder, end=end_of(run, job, sweep_folder))
    if queued is not None or holder is not None:
        return RunState(run, RUNNING, job, queued, holder)
    if doubt and job is not None:
        return RunState(run, UNCERTAIN, job, doubt=doubt)
    end = end_of(run, job, sweep_folder)
    if job is not None or any(file.exists() for file in _traces(run)):
        return RunState(run, end.state, job, end=end)
    return RunState(run, NEW)


def job_of(line: Submission) -> Job:
    """The job that a line of jobs.csv names."""
    return Job(line.job_id, line.array_index)


def end_of(run: Run, job: Submission | None, sweep_folder: Path) -> End:
    """What the logs tell of the end of the run's last attempt.

    What SLURM says of the job (time limit, memory) comes before what the run itself wrote.
    """
    own = run.folder / ERROR_LOG
    if job is None:
        return _own_end(own)
    log = log_paths(sweep_folder / LOGS, job_of(job))[1]
    if not log.exists():  # the job never started
        return _own_end(own) if _is_newer(own, _moment(job.submitted_at)) else End()
    if ended := last_ending(log.parent, job_of(job)):
        return End(ended[1], ended[0], log)
    end = _own_end(own)
    if end.line and _is_newer(own, _moment(job.submitted_at)):  # not of an earlier job
        return end
    line = last_error_line(log.parent, job_of(job)) or ""
    return End(line, endings.of_error(line), log)


def _own_end(log: Path) -> End:
    """What the run itself wrote of its end."""
    try:
        line = error_in(log.read_text(encoding="utf-8", errors="replace")) or ""
    except FileNotFoundError:
        return End()
    return End(line, endings.of_error(line), log)


def _is_newer(file: Path, moment: datetime) -> bool:
    """Whether a process wrote the file after that moment."""
    try:
        return datetime.fromtimestamp(file.stat().st_mtime, UTC) > moment
    except FileNotFoundError:
        return False


def _moment(text: str) -> datetime:
    """A moment as files have it, in UTC; the year 1970 where there is something else."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)


def why_failed(run: Run, job: Submission | None, sweep_folder: Path) -> str | None:
    """The line that tells best why the run's last attempt ended; None where none does."""
    return end_of(run, job, sweep_folder).line or None
