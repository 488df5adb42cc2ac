"""Ten faults of a cluster, and what must be said while each lasts."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from pipeline import (
    Pipeline,
    WrongError,
    end_of,
    release,
    wait_for_queue,
)
from scene import Scene, expect, expect_words, published

from stfmri.study.jobs import last_jobs
from stfmri.study.runs import Run

QUICK = ("train.epochs=1",)
STUDY = ("train.epochs=10",)
# More runs than an array of four holds
MANY = ("train.epochs=1", "split.n=5", "sweep.baselines=[]")
# SLURM believes in a node's jobs for so long after they have started: BatchStartTimeout and more
BELIEF_S = 22.0


def controller_killed(scene: Scene) -> None:
    """slurmctld is killed while runs work, and started again."""
    scene.submit()
    scene.until_training()
    before = last_jobs(scene.sweep.folder)
    scene.cluster.kill_controller()
    said = scene.status()[1]
    expect("uncertain" not in said or "squeue" in said, f"the doubt is not explained:\n{said}")
    scene.submit(status=1)
    expect(last_jobs(scene.sweep.folder) == before, "something was submitted without a controller")
    victim = scene.networks[0]
    scene.kill(victim)  # and nobody hears of it
    states, said = scene.status()
    expect("uncertain" in states.values() and "squeue" in said, f"nothing is uncertain:\n{said}")
    scene.cluster.restart_controller()
    scene.until_ended(victim)
    scene.status()


def node_killed(scene: Scene) -> None:
    """The node is killed with all that runs on it, and comes back."""
    scene.submit()
    scene.until(lambda: "RUNNING" in scene.queue().values(), "a start")
    started = time.monotonic()
    scene.until_training()
    scene.cluster.kill_node("n1")
    scene.status()
    time.sleep(max(0.0, started + BELIEF_S - time.monotonic()))
    scene.cluster.start_node("n1")
    scene.until_waiting()
    scene.status()
    release(scene.pipeline)


def array_limit(scene: Scene) -> None:
    """An array holds four tasks, and there are more runs."""
    scene.submit()
    numbers = {last_jobs(scene.sweep.folder)[run.name].job_id for run in scene.networks}
    expect(len(numbers) == 2, f"{len(scene.networks)} runs are in {len(numbers)} arrays, not 2")
    scene.status()
    scene.slurm("scancel", *numbers)
    scene.until_ended()
    scene.status()


def no_accounting(scene: Scene) -> None:
    """There is no sacct; the process of a run is killed."""
    with contextlib.suppress(subprocess.CalledProcessError):
        scene.slurm("sacct")
        raise WrongError("sacct answers")
    scene.submit()
    scene.until_training()
    scene.kill(scene.networks[0])
    scene.until_ended(scene.networks[0])
    scene.status()


def cancelled(scene: Scene) -> None:
    """scancel ends a run that works, and one that waits."""
    scene.submit("cluster.train.array_parallelism=1")
    works, waits = scene.networks
    scene.until_training(works)
    scene.status()
    scene.slurm("scancel", scene.job_of(works), scene.job_of(waits))
    scene.until_ended()
    states, said = scene.status()
    expect({states[run.name] for run in scene.networks} == {"stopped"}, said)
    expect_words(said, scene.networks, "stopped: cancelled")


def preempted(scene: Scene) -> None:
    """A job of a partition with higher priority takes the node."""
    scene.submit("cluster.train.partition=low", "cluster.train.cpus=3")
    scene.until_training()
    scene.slurm(
        "sbatch",
        "--partition=main",
        "--cpus-per-task=8",
        "--output=/dev/null",
        "--chdir=/",
        "--wrap=sleep 20",
    )
    scene.until_waiting()
    _, said = scene.status()
    expect_words(said, scene.networks, "pending again: preempted")
    release(scene.pipeline)


def timed_out(scene: Scene) -> None:
    """Four times in a row a run is told that its time is up."""
    scene.submit()
    reached = dict.fromkeys((run.name for run in scene.networks), 0)
    for _ in range(4):
        untold = list(scene.networks)
        scene.until(partial(all_told, scene, untold, reached), "an epoch of each run")
        scene.until_waiting()
        reached = {run.name: published(run) for run in scene.networks}
        _, said = scene.status()
        expect_words(said, scene.networks, "pending again: timed out")
        scene.until(lambda: start(scene), "a start")
    wait_for_queue(scene.pipeline)
    for run in scene.networks:
        log = (scene.sweep.folder / "logs" / f"{scene.job_of(run)}_0_log.out").read_text()
        begun = [int(epoch) for epoch in re.findall(r"from epoch (\d+) of", log)]
        expect(len(begun) == 5, f"{run.name} was started {len(begun)} times, not 5")
        expect(begun == sorted(set(begun)), f"{run.name} started over: from epochs {begun}")


def all_told(scene: Scene, untold: list[Run], reached: Mapping[str, int]) -> bool:
    """Signal each run that has got further than before; whether none is left."""
    for run in [run for run in untold if published(run) > reached[run.name]]:
        scene.slurm("scancel", "--signal=USR2", scene.job_of(run))
        untold.remove(run)
    return not untold


def start(scene: Scene) -> bool:
    """Release requeued jobs; whether all networks have started."""
    release(scene.pipeline)
    queue = scene.queue()
    return all(queue.get(scene.job_of(run)) != "PENDING" for run in scene.networks)


def out_of_memory(scene: Scene) -> None:
    """Runs take more memory than they asked for."""
    scene.submit("cluster.train.mem_gb=0.2")
    scene.until_ended()
    states, said = scene.status()
    expect({states[run.name] for run in scene.networks} == {"failed"}, said)
    expect_words(said, scene.networks, "failed: out of memory")


def disk_full(scene: Scene) -> None:
    """The disk is full while checkpoints and predictions are written."""
    scene.submit()
    ballast = scene.sweep.folder.parent / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    scene.until_ended(*scene.sweep.all_runs)
    states, _ = scene.status()
    expect("done" not in states.values(), f"runs are done on a full disk: {states}")
    found, said = scene.pipeline.ended(scene.pipeline.submission())
    is_told = found == 1 and "Traceback" not in said and "No space left" in said
    expect(is_told, f"submit on a full disk ended with {found}: {said[-1500:]}")
    ballast.unlink()


def two_submissions(scene: Scene) -> None:
    """Two processes submit the same sweep at once."""
    arguments = scene.pipeline.submission()
    both = [scene.pipeline.start(arguments) for _ in range(2)]
    ends = [end_of(process, arguments) for process in both]
    said = "\n".join(text for _, text in ends)
    expect(0 in {status for status, _ in ends}, f"neither submitted: {said}")
    expect("Traceback" not in said, said)
    jobs = scene.slurm("squeue", "--me", "--array", "--noheader", "--format=%i")
    known = {scene.job_of(run) for run in scene.sweep.all_runs}
    known |= {line.job_id for line in last_jobs(scene.sweep.folder).values()}
    lines = (scene.sweep.folder / "jobs.csv").read_text().splitlines()[1:]
    runs = [line.partition(",")[0] for line in lines]
    expect(len(runs) == len(set(runs)), f"submitted twice: {runs}")
    expect(set(jobs) <= known, f"jobs of nobody: {jobs}, known: {known}")
    scene.submissions += 1
    scene.status()


@contextmanager
def small_disk(pipeline: Pipeline) -> Iterator[None]:
    """The runs are on a disk of their own, of 300 MB, in memory.

    Raises:
        CalledProcessError: where this user may not mount one.
    """
    runs = pipeline.root / "runs"
    runs.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=300M", "none", str(runs)]
    subprocess.run(mount, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(runs)], check=True)


@dataclass(frozen=True)
class Fault:
    """Something that happens to a cluster.

    Attributes:
        happens: does it, to a scene in which nothing has been submitted.
        cluster: what the cluster is started with.
        study: settings of the sweep.
        around: what lasts as long as the fault.
    """

    name: str
    happens: Callable[[Scene], None]
    cluster: Mapping[str, object] = field(default_factory=dict)
    study: tuple[str, ...] = STUDY
    around: Callable[[Pipeline], AbstractContextManager[None]] = lambda _: nullcontext()

    @property
    def what(self) -> str:
        """In a line."""
        return (self.happens.__doc__ or "").partition("\n")[0].rstrip(".")


FAULTS = (
    Fault("controller", controller_killed),
    Fault("node", node_killed),
    Fault("array-limit", array_limit, {"max_array_size": 4}, MANY),
    Fault("no-accounting", no_accounting, {"accounting": False}),
    Fault("scancel", cancelled),
    Fault("preemption", preempted),
    Fault("time-outs", timed_out),
    Fault("memory", out_of_memory, {"kill_over_memory": True}),
    Fault("disk-full", disk_full, around=small_disk),
    Fault("two-at-once", two_submissions),
)
