"""A sweep on this machine: some runs at a time, with progress, then the results."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from launch.job import TrainRuns, baselines_by_fold
from launch.states import LOGS, epochs_of, why_failed
from slurm.local import local_gpus, run_local
from stfmri.study.config import ClusterConfig
from stfmri.study.runs import Run, Sweep

REFRESH_S = 1.0  # between two looks at the runs' metrics


def train_on_this_machine(
    out: Console, sweep: Sweep, runs: list[Run], cluster: ClusterConfig, code: Path
) -> list[Run]:
    """Run the baselines among `runs`, then train the networks, `cluster.local_jobs` at a time.

    One that fails does not stop the others.

    Returns:
        The runs that failed; why is printed.
    """
    failed = _run_baselines(out, sweep, runs, cluster, code)
    networks = [run for run in runs if not run.baseline]
    return failed + (_train(out, sweep, networks, cluster, code) if networks else [])


def _run_baselines(
    out: Console, sweep: Sweep, runs: list[Run], cluster: ClusterConfig, code: Path
) -> list[Run]:
    """Run baselines, a process a fold."""
    folds = baselines_by_fold(sweep.folder, runs)
    to_do = [run for of_fold in folds.values() for run in of_fold]
    if not to_do:
        return []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=out, disable=not out.is_terminal) as progress:
        bar = progress.add_task("baselines", total=len(to_do))

        def tell(index: int, state: str) -> None:
            if not out.is_terminal:
                part = list(folds)[index]
                of = f" of {part.volumes}" if part.volumes else ""
                out.print(f"baselines, fold {part.fold}{of}: {state}")

        with _repeatedly(
            lambda: progress.update(bar, completed=sum(run.is_done() for run in to_do))
        ):
            run_local(
                list(folds),
                limit=cluster.local_jobs,
                folder=sweep.folder / LOGS,
                workdir=code,
                on_change=tell,
            )
    failed = [run for run in to_do if not run.is_done()]
    for run in failed:
        why = why_failed(run, None, sweep.folder) or "its process ended before its predictions"
        out.print(f"{run.name} failed: {why}", style="red", soft_wrap=True)
    return failed


def _train(
    out: Console, sweep: Sweep, runs: list[Run], cluster: ClusterConfig, code: Path
) -> list[Run]:
    """Train networks, with a bar for each."""
    gpus = local_gpus()
    at_once = min(cluster.local_jobs, len(runs))
    neighbours = math.ceil(at_once / max(1, len(gpus))) - 1
    calls = [TrainRuns([str(run.config_file)], neighbours) for run in runs]
    with _progress(out, sweep, runs) as tell:
        outcomes = run_local(
            calls,
            limit=cluster.local_jobs,
            folder=sweep.folder / LOGS,
            workdir=code,
            on_change=tell,
            gpus=gpus,
        )
    failed = [(runs[outcome.index], outcome) for outcome in outcomes if outcome.error]
    for run, outcome in failed:
        out.print(f"{run.name} failed: {outcome.error}", style="red", soft_wrap=True)
        out.print(f"  its log: {outcome.log}", soft_wrap=True)
    return [run for run, _ in failed]


class _Board:
    """The progress bars: one of all epochs, and one of each run at work."""

    def __init__(self, progress: Progress, sweep: Sweep, runs: list[Run]) -> None:
        self._progress = progress
        self._runs = runs
        self._epochs = [sweep.config_of(run).train.epochs for run in runs]
        self._ended: dict[str, int] = {"done": 0, "failed": 0}
        self._bars: dict[int, TaskID] = {}
        self._finished = [epochs_of(run).finished for run in runs]
        self._lock = threading.Lock()  # told by one thread, refreshed by another
        self._all = progress.add_task(self._title(), total=sum(self._epochs))

    def tell(self, index: int, state: str) -> None:
        """A run has started or ended."""
        run = self._runs[index]
        with self._lock:
            if state == "running":
                self._bars[index] = self._progress.add_task(run.name, total=self._epochs[index])
            else:
                self._ended[state] += 1
                self._progress.remove_task(self._bars.pop(index))
                self._finished[index] = self._epochs[index]
        if not self._progress.console.is_terminal:
            self._progress.console.print(f"{run.name}: {state}")
        self.refresh()

    def refresh(self) -> None:
        """Read how far the runs at work are."""
        with self._lock:
            for index, bar in self._bars.items():
                epochs = epochs_of(self._runs[index])
                self._finished[index] = epochs.finished
                loss = "" if epochs.loss is None else f", loss {epochs.loss:.3f}"
                name = f"{self._runs[index].name}{loss}"
                self._progress.update(bar, completed=epochs.finished, description=name)
            done = sum(self._finished)
            self._progress.update(self._all, completed=done, description=self._title())

    def _title(self) -> str:
        failed = f", {self._ended['failed']} failed" if self._ended["failed"] else ""
        return f"{self._ended['done']} of {len(self._runs)} runs done{failed}"


@contextmanager
def _progress(out: Console, sweep: Sweep, runs: list[Run]) -> Iterator[Callable[[int, str], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out, disable=not out.is_terminal) as progress:
        board = _Board(progress, sweep, runs)
        with _repeatedly(board.refresh):
            yield board.tell


@contextmanager
def _repeatedly(refresh: Callable[[], None]) -> Iterator[None]:
    """Call `refresh` every so often, in a thread of its own, while the block lasts."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(REFRESH_S):
            refresh()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        refresh()
