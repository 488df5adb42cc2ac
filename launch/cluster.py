"""A sweep on SLURM: arrays of networks and of baselines, and behind them the job that collects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from launch.job import Collect, TrainRuns, baselines_by_fold
from launch.packing import asks_for_gpu, for_packs, packs_of
from launch.states import LOGS, RunState, job_of
from slurm.errors import ClusterError
from slurm.executor import Resources, SubmissionError, submit_array
from slurm.queue import Job, alive, has_slurm, jobs_in
from stfmri.study.config.sweep import ClusterConfig, StageResources
from stfmri.study.jobs import Submission, append_jobs, last_jobs, now, submissions
from stfmri.study.results import are_current
from stfmri.study.runs import Run, Sweep
from stfmri.study.sweep_file import options_of
from stfmri.study.words import plural

COLLECTOR = "collect"  # its line in jobs.csv; a run's name has a slash


def uses_slurm(cluster: ClusterConfig) -> bool:
    """Whether jobs go to SLURM, or to this machine."""
    return cluster.kind == "slurm" or (cluster.kind == "auto" and has_slurm())


def submit_to_slurm(
    out: Console, sweep: Sweep, runs: Sequence[Run], cluster: ClusterConfig, code: Path
) -> None:
    """Submit `runs`, and then the collector.

    Networks go `cluster.runs_per_gpu` to each GPU of a job, baselines a fold to a job.

    Raises:
        ClusterError: where the cluster refuses; what it had accepted stands in jobs.csv.
    """
    networks = left_to_the_choosing(sweep, [run for run in runs if not run.baseline])
    packs, asked = packs_of(networks, cluster), asks_for_gpu(cluster)
    calls = [TrainRuns([str(run.config_file) for run in pack], asked=asked) for pack in packs]
    jobs = _submit(sweep, packs, calls, for_packs(cluster.train, packs), sweep.name, code)
    folds = baselines_by_fold(sweep.folder, runs)
    name = f"{sweep.name[:90]}-baselines"
    jobs += _submit(sweep, list(folds.values()), list(folds), cluster.baselines, name, code)
    logs = sweep.folder / LOGS
    last = last_jobs(sweep.folder)
    # All of the sweep's jobs, earlier submissions' too: the last collector sees every run.
    awaited = [job_of(last[run.name]) for run in sweep.all_runs if run.name in last]
    [collector] = submit_array(
        [Collect(sweep.config.root, sweep.name)],
        resources(cluster.collect),
        folder=logs,
        name=f"{sweep.name[:90]}-collect",
        workdir=code,
        depends_on=awaited,
    )
    line = Submission(COLLECTOR, collector.job_id, collector.array_index, now())
    append_jobs(sweep.folder, [line])
    if not runs:
        out.print(f"submitted job {collector.job_id}, which collects the runs")
        return
    numbers = list(dict.fromkeys(job.job_id for job in jobs))
    how = f"job{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
    out.print(
        f"submitted {plural(len(runs), 'run')} as {how}; job {collector.job_id} collects them"
    )
    named = options_of(sweep.name, Path(sweep.config.root))
    out.print(f"next: squeue --me; python launch/status.py {named}", soft_wrap=True)


def left_to_the_choosing(sweep: Sweep, networks: Sequence[Run]) -> list[Run]:
    """The networks without the last candidate of each run that chooses.

    That run trains it itself, and its job does not wait with nothing to do while the jobs of the
    other candidates are at work.
    """
    own = {inner[-1].name for run in networks if (inner := sweep.inner_runs(run))}
    return [run for run in networks if run.name not in own]


def resources(stage: StageResources) -> Resources:
    """A stage's requests, as the cluster's room has them."""
    return Resources(**asdict(stage))


def _submit(
    sweep: Sweep,
    packs: Sequence[Sequence[Run]],
    calls: Sequence[Callable[[], None]],
    stage: StageResources,
    name: str,
    code: Path,
) -> list[Job]:
    """Submit an array with a call for each pack of runs, and note which job each run has."""
    try:
        jobs = submit_array(
            calls, resources(stage), folder=sweep.folder / LOGS, name=name, workdir=code
        )
    except SubmissionError as error:
        _record(sweep, packs, error.submitted)
        raise
    _record(sweep, packs, jobs)
    return jobs


def _record(sweep: Sweep, packs: Sequence[Sequence[Run]], jobs: Sequence[Job]) -> None:
    """Note which job each run was handed to; of a refused submission, as far as it came."""
    at = now()
    lines = [
        Submission(run.name, job.job_id, job.array_index, at)
        for pack, job in zip(packs, jobs, strict=False)
        for run in pack
    ]
    append_jobs(sweep.folder, lines)


def check_queue(sweep: Sweep, states: Sequence[RunState]) -> None:
    """Refuse to submit where it is uncertain what is in the queue.

    That is so where it does not answer, and beside jobs of a submission that was killed half-way.

    Raises:
        ClusterError: saying what may be alive.
    """
    doubts = [state.doubt for state in states if state.doubt]
    if doubts:
        raise ClusterError(
            f"{plural(len(doubts), 'run')} may be alive, so nothing was submitted: {doubts[0]}"
        )
    if not any(state.is_to_do for state in states):
        return
    known = {line.job_id for line in submissions(sweep.folder)}
    # The frozen code is every job's working directory.
    strays = [job for job in jobs_in(sweep.folder) if job not in known]
    if strays:
        raise ClusterError(
            f"jobs of sweep {sweep.name} are in the queue and not in its jobs.csv, so that their "
            f"runs are unknown: {', '.join(strays)}. An earlier submission was interrupted: end "
            f"them with scancel {' '.join(strays)}, or wait for them, and submit again"
        )


def collector_is_due(sweep: Sweep) -> bool:
    """Whether the results lack predictions, there or on their way, that no job will add.

    The collector's job may have been cancelled, or its submission interrupted.

    Raises:
        ClusterError: where no cluster answers.
    """
    if all(run.is_done() for run in sweep.all_runs) and are_current(sweep):
        return False
    jobs = last_jobs(sweep.folder)
    if not jobs:  # its runs work on this machine
        return False
    return COLLECTOR not in jobs or job_of(jobs[COLLECTOR]) not in alive()
