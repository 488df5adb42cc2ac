"""A sweep on this machine: some runs at a time, with progress, then the results."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from launch.cli import minutes
from launch.job import TrainRuns, baselines_by_fold, forget_end, write_end
from launch.lengths import epochs_by_name
from launch.machine import Machine, run_gb, shared, this_machine
from launch.packing import side_by_side
from launch.progress import (
    Row,
    asked_epochs,
    epochs_of,
    overall_left,
    progress_table,
    row_in_words,
    with_totals,
)
from launch.states import DONE, FAILED, LOGS, NEW, RUNNING, why_failed
from slurm.local import Outcome, environment_for_code, run_local
from stfmri.study import locks
from stfmri.study.config.sweep import ClusterConfig
from stfmri.study.runs import Run, Sweep

REFRESH_S = 1.0  # between two looks at the runs' metrics
LINE_S = 30.0  # between two lines of one run, where there is no terminal


def train_on_this_machine(
    out: Console, sweep: Sweep, runs: list[Run], cluster: ClusterConfig, code: Path
) -> list[Run]:
    """Run the baselines among `runs`, then train the networks, some at a time.

    One that fails does not stop the others.

    Returns:
        The runs that failed; why is printed.
    """
    machine = this_machine()
    failed = _run_baselines(out, sweep, runs, cluster, machine, code)
    networks = [run for run in runs if not run.baseline]
    return failed + (_train(out, sweep, networks, cluster, machine, code) if networks else [])


def collect_here(sweep: Sweep, code: Path) -> int:
    """Write the results of what was trained on this machine; 0 if that is the whole sweep.

    Args:
        code: the frozen code, so that an edit or a pull during the training changes nothing.
    """
    if not any(run.is_done() for run in sweep.runs):
        return 1
    status = collect(["--sweep", sweep.name, "--root", sweep.config.root, "--allow-partial"], code)
    return status or int(not all(run.is_done() for run in sweep.all_runs))


def collect(arguments: Sequence[str], code: Path) -> int:
    """Run `python -m stfmri.collect` in a folder of code; its exit status.

    Raises:
        KeyboardInterrupt: when it has ended after an interrupt.
    """
    command = [sys.executable, "-m", "stfmri.collect", *arguments]
    # In a session of its own, so that this process alone hears of an interrupt and ends it.
    process = subprocess.Popen(
        command, cwd=code, env=environment_for_code(), start_new_session=True
    )
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.terminate()  # it tidies up as after an interrupt, and is silent while it starts
        process.wait()
        raise
    if status >= 0:
        return status
    ended_by = signal.Signals(-status).name
    print(f"error: {ended_by} ended {' '.join(command[1:3])}", file=sys.stderr)
    return 1


def _run_baselines(
    out: Console,
    sweep: Sweep,
    runs: list[Run],
    cluster: ClusterConfig,
    machine: Machine,
    code: Path,
) -> list[Run]:
    """Run baselines, a process a fold."""
    folds = baselines_by_fold(sweep.folder, runs)
    to_do = [run for of_fold in folds.values() for run in of_fold]
    if not to_do:
        return []
    # On the cores even where there are GPUs, which no baseline uses.
    share = shared(machine.without_gpus, len(folds), cluster, threads=1)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=out, disable=not out.is_terminal) as progress:
        bar = progress.add_task("baselines", total=len(to_do))

        def tell(index: int, state: str) -> None:
            if state == RUNNING:
                for run in list(folds.values())[index]:
                    forget_end(run.folder)
            if not out.is_terminal:
                part = list(folds)[index]
                of = f" of {part.volumes}" if part.volumes else ""
                out.print(f"baselines, fold {part.fold}{of}: {state}")

        with _repeatedly(
            lambda: progress.update(bar, completed=sum(run.is_done() for run in to_do))
        ):
            run_local(
                list(folds),
                limit=share.at_once,
                threads=share.threads,
                folder=sweep.folder / LOGS,
                workdir=code,
                on_change=tell,
                on_end=lambda outcome: _note_end(list(folds.values())[outcome.index], outcome),
            )
    failed = [run for run in to_do if not run.is_done()]
    for run in failed:
        why = why_failed(run, None, sweep.folder) or "its process ended before its predictions"
        out.print(f"{run.name} failed: {why}", style="red", soft_wrap=True)
    return failed


def _train(
    out: Console,
    sweep: Sweep,
    runs: list[Run],
    cluster: ClusterConfig,
    machine: Machine,
    code: Path,
) -> list[Run]:
    """Train networks; a line for each at work says how far it is."""
    variants = {run.variant: run for run in runs}
    memory = run_gb([sweep.config_of(run) for run in variants.values()])
    share = shared(machine, len(runs), cluster, sweep.config.train.threads, memory)
    out.print(f"{share} (cluster.local_jobs=N or OMP_NUM_THREADS=N to change it)", soft_wrap=True)
    neighbours = side_by_side(share.at_once, len(machine.gpus)) - 1
    calls = [TrainRuns([str(run.config_file)], neighbours) for run in runs]
    board = _Board(out, sweep, runs)
    with board.shown():
        outcomes = run_local(
            calls,
            limit=share.at_once,
            threads=share.threads,
            folder=sweep.folder / LOGS,
            workdir=code,
            on_change=board.tell,
            on_end=lambda outcome: _note_end([runs[outcome.index]], outcome),
            gpus=machine.gpus,
        )
    failed = [(runs[outcome.index], outcome) for outcome in outcomes if outcome.error]
    for run, outcome in failed:
        out.print(f"{run.name} failed: {outcome.error}", style="red", soft_wrap=True)
        out.print(f"  its log: {outcome.log}", soft_wrap=True)
    return [run for run, _ in failed]


def _note_end(runs: Sequence[Run], outcome: Outcome) -> None:
    """Write why a process ended beside those of its runs that are not done and do not say why."""
    if outcome.error:
        for run in runs:
            if not run.is_done() and locks.holder(run.folder) is None:
                write_end(run.folder, outcome.error)


class _Board:
    """What the terminal shows while networks train: a line for each at work, and one for all."""

    def __init__(self, out: Console, sweep: Sweep, runs: Sequence[Run]) -> None:
        self._out = out
        self._lock = threading.Lock()  # changed by one thread, drawn by another
        rows = [Row(run, NEW, epochs_of(run), asked_epochs(sweep, run)) for run in runs]
        self._planned = epochs_by_name(sweep, runs)
        self._rows = with_totals(rows, self._planned)
        self._said: dict[int, tuple[int, float]] = {}  # epochs of the last line, and when it was

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the picture up to date while the block lasts; without a terminal, print lines."""
        if not self._out.is_terminal:
            with _repeatedly(self._print_lines):
                yield
            return
        live = Live(
            console=self._out, get_renderable=self._picture, refresh_per_second=1 / REFRESH_S
        )
        with live:
            yield

    def tell(self, index: int, state: str) -> None:
        """A run starts or has ended."""
        with self._lock:
            row = self._rows[index]
            if state == RUNNING:
                forget_end(row.run.folder)
            self._rows[index] = replace(row, state=state, epochs=epochs_of(row.run))
            self._said[index] = (self._rows[index].epochs.finished, time.monotonic())
        if not self._out.is_terminal:
            self._out.print(f"{row.run.name}: {state}; {self._all()}", soft_wrap=True)

    def _refresh(self) -> None:
        """Read how far the runs at work are."""
        with self._lock:
            rows = [
                replace(row, epochs=epochs_of(row.run)) if row.state == RUNNING else row
                for row in self._rows
            ]
            self._rows = with_totals(rows, self._planned)

    def _picture(self) -> RenderableType:
        self._refresh()
        at_work = [row for row in self._rows if row.state == RUNNING]
        line = Text(self._all(), style="bold")
        return Group(progress_table(at_work), line) if at_work else line

    def _print_lines(self) -> None:
        """A line for each run that has finished an epoch and has had none for a while."""
        self._refresh()
        for index, row in enumerate(self._rows):
            before, at = self._said.get(index, (0, 0.0))
            due = time.monotonic() - at >= LINE_S
            if row.state == RUNNING and row.epochs.finished > before and due:
                self._said[index] = (row.epochs.finished, time.monotonic())
                self._out.print(f"{row.run.name}: {row_in_words(row)}", soft_wrap=True)

    def _all(self) -> str:
        """One line for all of them."""
        done, failed = (sum(row.state == state for row in self._rows) for state in (DONE, FAILED))
        text = f"{done} of {len(self._rows)} networks trained"
        text += f", {failed} failed" if failed else ""
        left = overall_left(self._rows)
        return text if left is None else f"{text}, about {minutes(left[0])} left"


@contextmanager
def _repeatedly(refresh: Callable[[], object]) -> Iterator[None]:
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
