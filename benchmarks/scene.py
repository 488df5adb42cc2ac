"""A sweep on a cluster to which something is done, and what must be so at every point.

`status` must say what the files, the locks and the queue say; `submit` must submit what is neither
done nor alive, and nothing else.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import LIMIT_S, Pipeline, WrongError, asked, is_complete, kill, wait_for_queue

from slurm.devcluster.cluster import DevCluster
from stfmri.study import locks
from stfmri.study.jobs import last_jobs
from stfmri.study.runs import Run, Sweep
from stfmri.study.sweep_file import load_sweep

ENDED = {"failed", "stopped"}
RUN_LINE = re.compile(
    r"^(\S+/fold\d+) +(done|running|pending|uncertain|failed|stopped|not)\b", re.M
)
AGAIN = 5  # submissions after which everything must be done


@dataclass
class Scene:
    """A sweep on a cluster to which something is done.

    Attributes:
        submissions: how often it was submitted.
        submitted_again: runs that later submissions found missing.
        looks: how often `status` was compared with what is so.
    """

    pipeline: Pipeline
    cluster: DevCluster
    submissions: int = 0
    submitted_again: int = 0
    looks: int = 0

    @property
    def sweep(self) -> Sweep:
        """As submitted."""
        return load_sweep(self.pipeline.root / "runs/demo")

    @property
    def networks(self) -> list[Run]:
        """Its runs of networks."""
        return self.sweep.runs

    def job_of(self, run: Run) -> str:
        """The run's last job, as squeue prints it."""
        line = last_jobs(self.sweep.folder)[run.name]
        return line.job_id if line.array_index is None else f"{line.job_id}_{line.array_index}"

    def queue(self) -> dict[str, str]:
        """The state of every job that waits or runs."""
        fields = "--format=%F|%K|%T"
        lines = asked(self.pipeline, "squeue", "--me", "--array", "--noheader", fields)
        parts = (line.split("|") for line in lines)
        return {f"{job}_{index}" if index.isdigit() else job: state for job, index, state in parts}

    def slurm(self, *command: str) -> list[str]:
        """What a client of SLURM prints."""
        return asked(self.pipeline, *command)

    def missing(self) -> set[str]:
        """Runs that are neither done nor alive, by their files and the queue alone."""
        queue = self.queue()
        return {
            run.name
            for run in self.sweep.all_runs
            if not run.is_done() and self.job_of(run) not in queue
        }

    def submit(self, *more: str, status: int = 0) -> str:
        """Submit; what was printed.

        Raises:
            WrongError: where the exit status is another.
        """
        found, said = self.pipeline.ended(self.pipeline.submission(*more))
        expect(found == status, f"submit ended with {found}, not {status}: {said[-1500:]}")
        self.submissions += 1
        return said

    def status(self) -> tuple[dict[str, str], str]:
        """The state of every run as `status` says it, and all that it says.

        Raises:
            WrongError: where that is not so.
        """
        before = self.truth()
        code, said = self.pipeline.ended(self.pipeline.status())
        after = self.truth()
        self.looks += 1
        found = {name: "not submitted" if s == "not" else s for name, s in RUN_LINE.findall(said)}
        for run in self.sweep.all_runs:
            allowed = before[run.name] | after[run.name]
            is_true = found.get(run.name) in allowed
            expect(is_true, f"status: {run.name} is {found.get(run.name)}, not {allowed}:\n{said}")
        is_done = set(found.values()) == {"done"}
        expect(code == (0 if is_done else 1), f"status ended with {code}:\n{said}")
        return found, said

    def truth(self) -> dict[str, set[str]]:
        """What may be said of every run, by its files, its lock and the queue alone."""
        try:
            queue: dict[str, str] | None = self.queue()
        except subprocess.CalledProcessError:
            queue = None
        return {run.name: self._truth(run, queue) for run in self.sweep.all_runs}

    def _truth(self, run: Run, queue: Mapping[str, str] | None) -> set[str]:
        if run.is_done():
            return {"done"}
        if locks.holder(run.folder) and (queue is None or self.job_of(run) not in queue):
            return {"running"}
        if queue is None:
            return {"uncertain"}
        state = queue.get(self.job_of(run))
        if state is None:
            return ENDED
        return {"pending" if state == "PENDING" else "running"}

    def kill(self, run: Run) -> None:
        """Kill the process that trains a run.

        Raises:
            WrongError: where there is none.
        """
        held = locks.holder(run.folder)
        if held is None or not kill(held.pid):
            raise WrongError(f"nobody trains {run.name}")

    def until(self, happened: Callable[[], object], what: str) -> None:
        """Wait.

        Raises:
            WrongError: where it does not happen.
        """
        deadline = time.monotonic() + LIMIT_S
        while not happened():
            expect(time.monotonic() < deadline, f"{what}: not in {LIMIT_S:.0f} s: {self.queue()}")
            time.sleep(0.3)

    def until_training(self, *runs: Run, epochs: int = 1) -> None:
        """Wait until each of the runs (all networks) has finished so many epochs."""
        for run in runs or self.networks:
            self.until(lambda one=run: epochs_of(one) >= epochs, f"epoch {epochs} of {run.name}")

    def until_ended(self, *runs: Run) -> None:
        """Wait until none of the runs (all networks) has a job in the queue."""
        jobs = {self.job_of(run) for run in runs or self.networks}
        self.until(lambda: not jobs & self.queue().keys(), "the end of the runs")

    def until_waiting(self, *runs: Run) -> None:
        """Wait until the jobs of the runs (all networks) wait in the queue."""
        jobs = [self.job_of(run) for run in runs or self.networks]
        self.until(lambda: {self.queue().get(job) for job in jobs} == {"PENDING"}, "the requeue")

    def finish(self) -> None:
        """Submit until all is done, and look at `status` each time.

        Raises:
            WrongError: where other runs are submitted than those that are missing.
        """
        for _ in range(AGAIN):
            self.resubmit()
            wait_for_queue(self.pipeline)
            states, _ = self.status()
            if set(states.values()) == {"done"} and is_complete(self.pipeline):
                break
        else:
            raise WrongError(f"not done after {AGAIN} submissions: {self.status()[1]}")
        expect("nothing to submit" in self.submit(), "a finished sweep was submitted")

    def resubmit(self) -> None:
        """Submit what is missing.

        Raises:
            WrongError: where it is not that.
        """
        self.until(lambda: "COMPLETING" not in self.queue().values(), "the end of jobs")
        missing, before = self.missing(), last_jobs(self.sweep.folder)
        self.submit()
        now = last_jobs(self.sweep.folder)
        changed = {name for name in now if now[name] != before.get(name)} - {"collect"}
        expect(changed == missing, f"submitted {sorted(changed)}, missing {sorted(missing)}")
        self.submitted_again += len(changed)


def expect(is_so: bool, otherwise: str) -> None:
    """Go on where something is as it should be.

    Raises:
        WrongError: where it is not.
    """
    if not is_so:
        raise WrongError(otherwise)


def epochs_of(run: Run) -> int:
    """Epochs that the run has finished, by its metrics."""
    try:
        return max(0, len((run.folder / "metrics.csv").read_text().splitlines()) - 1)
    except FileNotFoundError:
        return 0


def published(run: Run) -> int:
    """The epoch of its newest checkpoint, from which it would go on."""
    names = [folder.name for folder in run.folder.glob("checkpoint/epoch-*")]
    return max((int(name.removeprefix("epoch-")) for name in names), default=0)


def expect_words(said: str, runs: Sequence[Run], words: str) -> None:
    """`status` says this of every run, and names its log, which is there if the job had started.

    Raises:
        WrongError: where it does not.
    """
    text = " ".join(said.split())
    for run in runs:
        start = re.escape(f"{run.name} {words}")
        found = re.search(start + r".*?\(job \S+, (?:log (\S+)|it had not started)\)", text)
        if found is None or (found[1] and not Path(found[1]).is_file()):
            raise WrongError(f"'{words}' and a log are not said of {run.name}:\n{said}")
