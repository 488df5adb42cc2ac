"""What a node runs: small picklable callables that import torch only when called.

submitit calls `checkpoint` when a job meets its time limit or is preempted, and queues the same
callable again. It carries no weights: training goes on from the last epoch that it published.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launch import packing
from launch.states import ERROR_LOG, OUTPUT_LOG
from preprocessing.cohorts import Scan
from slurm.gpus import local_gpus
from slurm.task import ended_by
from stfmri.study import config as configuration
from stfmri.study import locks
from stfmri.study.config import Config
from stfmri.study.config.sweep import GPU_ASKED
from stfmri.study.errors import RunHeldError
from stfmri.study.files import private_dir
from stfmri.study.naming import CONFIG_FILE
from stfmri.study.runs import Run
from stfmri.study.sweep_file import load_sweep

POLL_S = 0.5
ENDING_S = 3.0  # a packed run has this long to end after SIGTERM; the job itself has little more


class JobError(Exception):
    """Part of a job failed; the message names the runs and their logs."""


@dataclass
class TrainRuns:
    """Trains one run here, or several side by side on a job's GPUs, each in a process of its own.

    Attributes:
        configs: the runs' config.yaml.
        neighbours: other runs on the same device at the time.
        asked: the setting that asked for a GPU, without which no run starts; "" for none.
    """

    configs: Sequence[str]
    neighbours: int = 0
    asked: str = ""
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)

    def __call__(self) -> None:
        """Train every run to its end, or on from its last checkpoint.

        Raises:
            JobError: naming the packed runs that failed, once the others have ended.
        """
        if self.asked:
            os.environ[GPU_ASKED] = self.asked
        if len(self.configs) == 1:
            train_here(Path(self.configs[0]), side_by_side=1 + self.neighbours)
        else:
            self._train_side_by_side()

    def checkpoint(self) -> None:
        """End the packed runs; the epochs that they published are on disk."""
        _end(self._children)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "configs": list(self.configs), "_children": []}

    def _train_side_by_side(self) -> None:
        # Without the variable the job has no GPU of its own, whatever its node has.
        gpus = local_gpus() if "CUDA_VISIBLE_DEVICES" in os.environ else []
        runs = [Path(config).parent for config in self.configs]
        if refused := packing.refusal(gpus, len(runs)):
            for run in runs:
                (run / ERROR_LOG).write_text(f"{refused}\n", encoding="utf-8")
            raise JobError(refused)
        share = packing.side_by_side(len(runs), len(gpus)) + self.neighbours
        try:
            for number, (run, config) in enumerate(zip(runs, self.configs, strict=True)):
                with (run / OUTPUT_LOG).open("ab") as out, (run / ERROR_LOG).open("wb") as err:
                    command = [sys.executable, "-m", "stfmri.train", "--config", config]
                    command += ["--side-by-side", str(share)]
                    own = _share_of_job(number, len(runs), gpus)
                    self._children.append(
                        subprocess.Popen(command, stdout=out, stderr=err, env=own)
                    )
            # Polled, since `checkpoint` may be called by a signal while this waits.
            while any(child.poll() is None for child in self._children):
                time.sleep(POLL_S)
        finally:
            _end(self._children)
        failed = [
            str(run / ERROR_LOG)
            for run, child in zip(runs, self._children, strict=True)
            if child.returncode != 0 and not _is_left_to_another(run)
        ]
        if failed:
            raise JobError(f"{len(failed)} of {len(runs)} runs failed; see {', '.join(failed)}")


def _share_of_job(number: int, runs: int, gpus: Sequence[str]) -> dict[str, str]:
    """The environment of one of a job's runs: its part of the cores, and one of the GPUs."""
    usable = len(os.sched_getaffinity(0))  # of the whole node, where SLURM binds no process
    cores = min(usable, int(os.environ.get("SLURM_CPUS_PER_TASK") or usable))
    threads = str(max(1, cores // runs))
    # SLURM's variable is asked before the other.
    own = {"OMP_NUM_THREADS": threads, "SLURM_CPUS_PER_TASK": threads}
    if gpus:
        own["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    return {**os.environ, **own}


def train_here(config: Path, side_by_side: int = 1) -> None:
    """Train one run in this process; what ends it with an error is written beside it too.

    Args:
        side_by_side: how many runs share the device.
    """
    log = config.parent / ERROR_LOG
    forget_end(config.parent)  # it has begun, as status sees while torch is imported
    # Torch takes seconds to import, and nothing that submits needs it.
    from stfmri.learning.choosing import train

    try:
        train(config, side_by_side)
        log.unlink(missing_ok=True)
    except RunHeldError as error:
        # Another process trains it, and nothing is wrong with the run.
        log.unlink(missing_ok=True)
        if not _is_left_to_another(config.parent):
            raise
        print(f"left to that process: {error}", flush=True)
    except SystemExit as error:  # of a signal, which leaves no traceback
        write_end(config.parent, ended_by(error.code))
        raise
    except Exception:
        log.write_text(traceback.format_exc(), encoding="utf-8")
        raise


def forget_end(run: Path) -> None:
    """Empty what tells why a run's last attempt ended, since another one begins."""
    (private_dir(run) / ERROR_LOG).write_text("", encoding="utf-8")


def write_end(run: Path, line: str) -> None:
    """Write why a run ended beside it, unless it said so itself or there is nothing to say."""
    log = private_dir(run) / ERROR_LOG
    if line and not (log.is_file() and log.stat().st_size):
        log.write_text(f"{line}\n", encoding="utf-8")


def _is_left_to_another(run: Path) -> bool:
    """Whether it is an inner run that another process trains.

    The run that chooses does not wait for the job of a candidate to start.
    """
    is_inner = configuration.load(run / CONFIG_FILE).split.inner > 0
    return is_inner and locks.holder(run) is not None


@dataclass(frozen=True)
class RunBaselines:
    """Runs baselines of one fold in turn, on features of one cache that they share."""

    sweep: str  # its folder
    fold: int
    names: tuple[str, ...]
    volumes: str = ""  # which of the sweep's caches; empty where it has one

    def __call__(self) -> None:
        """Run those that are not done; one that fails does not stop the others.

        Raises:
            JobError: naming the runs that failed; each has its error beside it.
        """
        from stfmri.evidence.baselines.run import run_baselines

        sweep = load_sweep(Path(self.sweep))
        runs = [
            run
            for run in sweep.baseline_runs
            if (run.fold, run.volumes) == (self.fold, self.volumes) and run.baseline in self.names
        ]
        for run in runs:
            (run.folder / ERROR_LOG).unlink(missing_ok=True)
        try:
            failures = run_baselines(sweep, runs)
        except Exception as error:  # before any of them: the volumes cannot be read, say
            for run in runs:
                _log_error(run, error)
            raise
        for failure in failures:
            if not isinstance(failure.error, RunHeldError):
                _log_error(failure.run, failure.error)
        if failures:
            told = "; ".join(f"{failure.run.name}: {failure.error}" for failure in failures)
            raise JobError(f"{len(failures)} of {len(runs)} baselines failed: {told}")

    def checkpoint(self) -> None:
        """Nothing to keep: what is done is not run again."""


def baselines_by_fold(sweep_folder: Path, runs: Sequence[Run]) -> dict[RunBaselines, list[Run]]:
    """A call for each fold and cache of the baselines in `runs`, with the runs that it is to do."""
    parts: dict[tuple[int, str], list[Run]] = {}
    for run in runs:
        if run.baseline:
            parts.setdefault((run.fold, run.volumes), []).append(run)
    return {
        RunBaselines(
            str(sweep_folder), fold, tuple(dict.fromkeys(run.baseline for run in part)), volumes
        ): part
        for (fold, volumes), part in parts.items()
    }


def _log_error(run: Run, error: Exception) -> None:
    """Write what ended a run beside it."""
    log = private_dir(run.folder) / ERROR_LOG
    log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")


@dataclass(frozen=True)
class Collect:
    """Evaluates whatever runs of a sweep are done."""

    root: str
    sweep: str

    def __call__(self) -> None:
        """Write results/<sweep>/.

        Raises:
            JobError: where collecting did not end well.
        """
        from stfmri.collect import main

        status = main(["--sweep", self.sweep, "--root", self.root, "--allow-partial"])
        if status != 0:
            raise JobError(f"collecting sweep {self.sweep} ended with status {status}")

    def checkpoint(self) -> None:
        """Nothing to keep: collecting starts anew."""


@dataclass(frozen=True)
class BuildPart:
    """Preprocesses some scans of a cohort; started again, it goes on where it stopped."""

    config: Config
    scans: Sequence[Scan]  # the part's alone
    part: str
    jobs: int  # worker processes

    def __call__(self) -> None:
        """Write the part's shards and its record."""
        from preprocessing.build import build_part

        build_part(self.config, self.scans, self.part, jobs=self.jobs)

    def checkpoint(self) -> None:
        """Nothing to keep: finished shards are found again."""


@dataclass(frozen=True)
class Publish:
    """Writes the index of a cohort, once every part of it is there."""

    config: Config
    scans: Sequence[Scan]  # all of them
    parts: Sequence[str]

    def __call__(self) -> None:
        """Write index.csv, qc.html and rejected.csv.

        Raises:
            JobError: naming the parts that did not finish.
        """
        from preprocessing.build import publish

        report = publish(self.config, self.scans, self.parts)
        if report.unfinished:
            raise JobError(
                f"no index written, since these did not finish: {', '.join(report.unfinished)}; "
                "submit the same command again, and it goes on from what is there"
            )
        print(f"{report.volumes} volumes, {len(report.rejected)} rejected: {report.cache}")

    def checkpoint(self) -> None:
        """Nothing to keep: publishing starts anew."""


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes: politely, then by force."""
    for child in children:
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + ENDING_S
    while time.monotonic() < deadline and any(child.poll() is None for child in children):
        time.sleep(0.05)
    for child in children:
        if child.poll() is None:
            child.kill()
