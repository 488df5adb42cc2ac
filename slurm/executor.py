"""Submit any picklable callables as array jobs, through submitit called directly.

Submitting returns at once; nothing here waits for jobs. Each callable is pickled by itself, so a
task reads only its own. A callable with a `checkpoint` method is requeued when its time is up, as
often as it takes.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from slurm.errors import ClusterError
from slurm.queue import Job, alive, max_array_size, outside_any_job
from slurm.task import as_task, deferring_interpreter

# submitit gives up after this many time-outs; a long training may need any number of them
MAX_TIMEOUTS = 1_000_000
# Seconds between the signal that time is nearly up and the limit: enough to requeue, not to train
SIGNAL_DELAY_S = 90

JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")


class SubmissionError(ClusterError):
    """A submission was refused, perhaps after a part of it had been accepted.

    Attributes:
        submitted: the jobs that were accepted before the refusal, for the first calls in order;
            they are in the queue and stay there.
    """

    def __init__(self, message: str, submitted: Sequence[Job] = ()) -> None:
        super().__init__(message)
        self.submitted = tuple(submitted)


@dataclass(frozen=True)
class Resources:
    """What one job, or each task of an array, asks of the cluster.

    None leaves the choice to the cluster's own defaults.

    Attributes:
        time_min: time limit in minutes, at least 1.
        partition: partition (queue) to wait in.
        account: account that pays.
        qos: quality of service.
        gres: generic resources such as `gpu:1`.
        constraint: features the node must have.
        mem_gb: memory in GB (2**30 bytes).
        cpus: CPUs of the one process.
        array_parallelism: array tasks that may run at a time; None for no bound.
        signal_delay_s: how many seconds before the limit a job is told, at most a quarter of the
            limit; SLURM may tell it up to a minute earlier.
        setup: shell lines that run before Python starts: modules, environments.
        comment: text that the cluster keeps with the job.
    """

    time_min: int
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gres: str | None = None
    constraint: str | None = None
    mem_gb: float | None = None
    cpus: int | None = None
    array_parallelism: int | None = None
    signal_delay_s: int = SIGNAL_DELAY_S
    setup: tuple[str, ...] = ()
    comment: str | None = None

    def __post_init__(self) -> None:
        for name in ("time_min", "cpus", "array_parallelism"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ClusterError(f"{name} must be a whole number of at least 1; found {value!r}")
        if self.mem_gb is not None and self.mem_gb <= 0:
            raise ClusterError(f"mem_gb must be above 0; found {self.mem_gb!r}")
        for name in ("partition", "account", "qos", "gres", "constraint", "comment"):
            _check_printable(getattr(self, name), name)


def submit_array(
    calls: Sequence[Callable[[], object]],
    resources: Resources,
    *,
    folder: Path,
    name: str,
    workdir: Path,
    depends_on: Sequence[Job] = (),
    python: str = sys.executable,
) -> list[Job]:
    """Submit one task a callable, as few array jobs as the cluster's limit allows.

    Args:
        calls: picklable callables without arguments. One that has `checkpoint()` is requeued when
            its time is up; `checkpoint()` is called first, and the same callable runs again.
        resources: what each task asks for.
        folder: for logs, pickles and batch scripts; on the shared file system; made, mode 0700.
        name: the jobs' name in the queue.
        workdir: the jobs' working directory, first on Python's path: the frozen code.
        depends_on: jobs that must have ended, however they ended, before these start. An array
            task stands for its whole array.
        python: interpreter on the nodes.

    Returns:
        The jobs in the order of `calls`.

    Raises:
        SubmissionError: if the cluster refuses; its `submitted` are the jobs accepted before.
        ClusterError: if a name or path cannot be used or the cluster does not answer.
    """
    if not calls:
        return []
    if not JOB_NAME.fullmatch(name):
        raise ClusterError(
            "a job's name must be at most 100 letters, digits, '.', '_', '+' or '-', starting "
            f"with a letter or digit; found {name!r}"
        )
    folder, workdir = folder.absolute(), workdir.absolute()
    _check_printable(str(folder), "the log folder")
    _check_printable(str(workdir), "the working directory")
    if "%" in str(folder):
        raise ClusterError(
            f"the log folder's path must not hold '%', which SLURM expands: {folder}"
        )
    if not workdir.is_dir():
        raise ClusterError(f"expected the jobs' working directory; found no folder at {workdir}")
    make_private(folder)

    size = max_array_size()
    chunks = [calls[first : first + size] for first in range(0, len(calls), size)]
    parallelism = resources.array_parallelism or len(calls)
    parameters = _parameters(resources, name, workdir, depends_on)
    # Arrays do not know of each other: together they keep to the bound
    parameters["array_parallelism"] = max(1, parallelism // len(chunks))
    submitted: list[Job] = []
    for chunk in chunks:
        submitted += _submit_chunk(chunk, parameters, folder, name, python, submitted)
    return submitted


def _submit_chunk(
    calls: Sequence[Callable[[], object]],
    parameters: dict[str, object],
    folder: Path,
    name: str,
    python: str,
    before: Sequence[Job],
) -> list[Job]:
    """Submit one array; a refusal leaves no pickles behind."""
    # Late: submitit takes a while to start, and most callers only ask
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    present = set(folder.iterdir())
    try:
        # submitit prints sbatch's complaint as well as raising it
        with outside_any_job(), contextlib.redirect_stderr(io.StringIO()):
            executor = submitit.SlurmExecutor(
                folder, max_num_timeout=MAX_TIMEOUTS, python=deferring_interpreter(python)
            )
            executor.update_parameters(**parameters)
            jobs = executor.submit_array([as_task(call) for call in calls])
    except (FailedJobError, FailedSubmissionError) as error:
        for left in set(folder.iterdir()) - present:
            left.unlink()
        lines = [line.replace("sbatch: error: ", "").strip() for line in str(error).splitlines()]
        reason = "; ".join(line for line in lines if line) or "it gave no reason"
        raise SubmissionError(
            f"the cluster refused the job '{name}' ({len(calls)} tasks): {reason}; check "
            "partition, account, qos, gres, memory and time in the cluster's configuration",
            before,
        ) from error
    return [Job.parse(job.job_id) for job in jobs]


def _parameters(
    resources: Resources, name: str, workdir: Path, depends_on: Sequence[Job]
) -> dict[str, object]:
    """submitit's parameters; those that are None stay out of the batch script."""
    # A job that has ended may be unknown to the cluster already, and sbatch would refuse to wait
    # for it; for `afterany` it is as good as done
    awaited = sorted(_known_numbers(depends_on), key=int)
    additional: dict[str, object] = {
        "chdir": str(workdir),
        # Some clusters forbid requeueing unless a job asks for it
        "requeue": True,
        "kill-on-invalid-dep": "no",
    }
    return {
        "job_name": name,
        "time": resources.time_min,
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "gres": resources.gres,
        "constraint": resources.constraint,
        "comment": resources.comment,
        "mem": None if resources.mem_gb is None else f"{round(resources.mem_gb * 1024)}M",
        "cpus_per_task": resources.cpus,
        # Since 22.05 srun no longer takes this over from sbatch
        "srun_args": None if resources.cpus is None else [f"--cpus-per-task={resources.cpus}"],
        "signal_delay_s": min(resources.signal_delay_s, resources.time_min * 15),
        "dependency": "afterany:" + ":".join(awaited) if awaited else None,
        # The set-up lines may change the folder, and SLURM goes to /tmp where it cannot enter one
        "setup": [*resources.setup, f"cd -- {shlex.quote(str(workdir))} || exit 1"],
        # submitit's own default is refused where the cluster checks such keys
        "wckey": None,
        "additional_parameters": additional,
    }


def _known_numbers(jobs: Sequence[Job]) -> set[str]:
    """Numbers of the jobs that the queue has; of all where it does not answer."""
    numbers = {job.job_id for job in jobs}
    try:
        return numbers & {job.job_id for job in alive()} if numbers else numbers
    except ClusterError:
        return numbers


def make_private(folder: Path) -> None:
    """Make a folder and its missing parents, readable by their owner alone."""
    for level in reversed([folder, *folder.parents]):
        if not level.exists():
            level.mkdir(mode=0o700, exist_ok=True)


def _check_printable(text: str | None, what: str) -> None:
    """Refuse what could start a new line in the batch script."""
    if text is not None and CONTROL_CHARACTERS.search(text):
        raise ClusterError(f"{what} must not hold line breaks or control characters: {text!r}")
