"""How far runs are: epochs, loss, time left; a line a run, or a variant where they are many."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rich.table import Table
from rich.text import Text

from launch.cli import minutes
from launch.states import (
    ALIVE,
    DONE,
    FAILED,
    NEW,
    PENDING,
    RUNNING,
    STOPPED,
    UNCERTAIN,
    WAITING,
)
from stfmri.study import history
from stfmri.study.runs import Run, Sweep
from stfmri.study.words import plural

MOST_LINES = 30  # of runs; more are folded
RECENT = 5  # epochs whose mean is the pace
WHERE = "where"  # the column of jobs and processes
STYLES = {
    DONE: "green",
    RUNNING: "cyan",
    PENDING: "blue",
    WAITING: "blue",
    FAILED: "red",
    UNCERTAIN: "yellow",
}
STATES = (DONE, RUNNING, PENDING, WAITING, UNCERTAIN, FAILED, STOPPED, NEW)


@dataclass(frozen=True)
class Epochs:
    """What metrics.csv says of a run so far.

    Attributes:
        finished: epochs.
        seconds: spent in them.
        loss: of training, in the last one.
        val_loss: of validation, in the last one; None without validation.
        pace_s: seconds an epoch, of late.
        since_s: seconds since the last one ended.
        total: how many the run will have, by its own word; None before the first.
    """

    finished: int = 0
    seconds: float = 0.0
    loss: float | None = None
    val_loss: float | None = None
    pace_s: float | None = None
    since_s: float = 0.0
    total: int | None = None


@dataclass(frozen=True)
class Row:
    """One run in a table of progress.

    Attributes:
        total: its epochs, where none stops it early; 0 for a baseline.
        where: which job or process has it.
        job: that trains it; runs of one job start together. "" where it has none to itself.
    """

    run: Run
    state: str
    epochs: Epochs
    total: int
    where: str = ""
    job: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it runs or waits."""
        return self.state in ALIVE

    @property
    def is_testing(self) -> bool:
        """Whether it has trained its last epoch and has still to predict."""
        return self.state == RUNNING and 0 < self.total <= self.epochs.finished

    @property
    def left_s(self) -> float | None:
        """Seconds until its last epoch ends, at the pace of late; None where nobody can tell."""
        if self.state != RUNNING or self.epochs.pace_s is None:
            return None
        to_come = self.epochs.pace_s * (self.total - self.epochs.finished)
        return max(0.0, to_come - min(self.epochs.since_s, self.epochs.pace_s))


def epochs_of(run: Run) -> Epochs:
    """How many epochs the run has finished, and how long they took."""
    path = run.folder / history.FILE_NAME
    found = history.read(path)
    if not {"epoch", "seconds", "train_loss"} <= found.keys():
        return Epochs()  # not there yet, or cut off: the run's checkpoint writes it again
    seconds = found["seconds"]
    recent = seconds[-RECENT:]
    val_loss = found.get("val_loss", [float("nan")])[-1]
    return Epochs(
        len(found["epoch"]),
        sum(seconds),
        found["train_loss"][-1],
        None if val_loss != val_loss else val_loss,
        sum(recent) / len(recent),
        max(0.0, time.time() - path.stat().st_mtime),
        int(found["epochs"][-1]) if "epochs" in found else None,
    )


def asked_epochs(sweep: Sweep, run: Run) -> int:
    """The epochs that the run was asked for; a baseline has none."""
    if run.baseline:
        return 0
    return int(run.overrides.get("train.epochs", sweep.config.train.epochs))


def with_totals(rows: Sequence[Row], planned: Mapping[str, int] | None = None) -> list[Row]:
    """The rows with the epochs that each will have.

    That is a run's own word, else what is `planned` for it, else another's word of its variant: a
    small cohort has more than `train.epochs`, to reach `train.steps`.

    Args:
        planned: epochs by the run's name, where they can be worked out.
    """
    known = {_kind(row.run): row.epochs.total for row in rows if row.epochs.total}

    def total(row: Row) -> int:
        by_plan = (planned or {}).get(row.run.name)
        return row.epochs.total or by_plan or known.get(_kind(row.run)) or row.total

    return [replace(row, total=total(row)) for row in rows]


def _kind(run: Run) -> tuple[str, str]:
    """What runs share that train as long as each other: candidates train on a part."""
    return run.variant, run.candidate


def progress_table(rows: Sequence[Row], *, unfold: bool = False) -> Table:
    """The runs, a line each; many of them a line a variant.

    Args:
        unfold: give each run its line, however many there are.
    """
    if unfold or len(rows) <= MOST_LINES:
        return _runs(rows)
    return _variants(rows)


def overall_left(rows: Sequence[Row]) -> tuple[float, int] | None:
    """Seconds until everything is trained, and runs at work; None where nobody can tell.

    As many jobs stay at work as there are now, each with the runs that it packs. A run that has no
    epoch yet is given the pace of its variant, or else of all.
    """
    jobs: dict[str, list[Row]] = {}
    for number, row in enumerate(rows):
        if row.state != DONE and row.total:
            jobs.setdefault(row.job or f"without one, {number}", []).append(row)
    running = {name for name, some in jobs.items() if any(row.state == RUNNING for row in some)}
    paces = Paces(rows)
    trained = all(row.is_testing for some in jobs.values() for row in some)
    if not running or not paces or trained:
        return None
    left_s = {name: paces.left_s(some) for name, some in jobs.items()}
    left = makespan(
        [left_s[name] for name in jobs if name in running],
        [left_s[name] for name in jobs if name not in running],
    )
    return left, sum(row.state == RUNNING for name in running for row in jobs[name])


def makespan(at_work: Iterable[float], waiting: Iterable[float]) -> float:
    """Seconds until the last job ends, where each that ends lets the next waiting one start.

    Args:
        at_work: seconds left of each job that runs, at least one.
        waiting: seconds of each that follows, in order.
    """
    ends = list(at_work)
    heapq.heapify(ends)
    for seconds in waiting:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


class Paces:
    """Seconds an epoch, by variant, of the runs that have finished one."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._by_variant = {}
        for name, some in _by_variant(rows).items():
            finished = sum(row.epochs.finished for row in some)
            if finished:
                self._by_variant[name] = sum(row.epochs.seconds for row in some) / finished

    def __bool__(self) -> bool:
        return bool(self._by_variant)

    def left_s(self, job: Sequence[Row]) -> float:
        """Seconds until the last of a job's runs ends, once it is at work; there must be a pace."""
        mean = sum(self._by_variant.values()) / len(self._by_variant)
        return max(
            row.left_s
            if row.left_s is not None
            else self._by_variant.get(row.run.variant, mean) * (row.total - row.epochs.finished)
            for row in job
        )


def count_states(states: Iterable[str]) -> str:
    """18 runs: 4 done, 2 running, 12 pending."""
    counts = Counter(states)
    known = [state for state in STATES if counts[state]]
    said = ", ".join(f"{counts[state]} {state}" for state in known)
    return f"{plural(counts.total(), 'run')}: {said}"


def styled(state: str) -> Text:
    """The state in its colour."""
    return Text(state, style=STYLES.get(state, ""))


def _by_variant(rows: Sequence[Row]) -> dict[str, list[Row]]:
    variants: dict[str, list[Row]] = {}
    for row in rows:
        variants.setdefault(row.run.variant, []).append(row)
    return variants


def _runs(rows: Sequence[Row]) -> Table:
    headings = ("run", "state", "epoch", "loss", "val loss", "time", WHERE)
    return _table(headings, [_run(row) for row in rows])


def _run(row: Row) -> tuple[str | Text, ...]:
    """A run's line; its time is what is left, or what it took."""
    epochs = row.epochs
    spent = _left(row) or (minutes(epochs.seconds) if epochs.finished else "")
    return (
        row.run.name,
        styled(row.state),
        f"{epochs.finished}/{row.total}" if row.total else "",
        _loss(epochs.loss),
        _loss(epochs.val_loss),
        spent,
        row.where,
    )


def _left(row: Row) -> str:
    """How long it still trains; "" where nobody can tell."""
    if row.is_testing:
        return "testing"
    return "" if row.left_s is None else f"{minutes(row.left_s)} left"


def row_in_words(row: Row) -> str:
    """Such as `epoch 3/50, loss 0.4120, 12 min left`, for a log."""
    epochs = row.epochs
    parts = [f"epoch {epochs.finished}/{row.total}"] if row.total else []
    for name, value in (("loss", epochs.loss), ("validation loss", epochs.val_loss)):
        parts += [] if value is None else [f"{name} {value:.4f}"]
    return ", ".join(filter(None, (*parts, _left(row))))


def _variants(rows: Sequence[Row]) -> Table:
    """A line a variant: how many of its runs are where, and the means of those with epochs."""
    headings = ("variant", "done", "alive", "failed", "epoch", "loss", "left")
    return _table(headings, [_variant(name, some) for name, some in _by_variant(rows).items()])


def _variant(name: str, rows: Sequence[Row]) -> tuple[str | Text, ...]:
    counts = Counter(row.state for row in rows)
    alive, failed = sum(counts[state] for state in ALIVE), counts[FAILED] + counts[STOPPED]
    trained = [row for row in rows if row.epochs.finished]
    finished = [row.total if row.state == DONE else row.epochs.finished for row in rows]
    left = overall_left(rows)
    total = max(row.total for row in rows)
    return (
        name,
        Text(f"{counts[DONE]}/{len(rows)}", style=STYLES[DONE]),
        Text(str(alive or ""), style=STYLES[RUNNING]),
        Text(str(failed or ""), style=STYLES[FAILED]),
        f"{sum(finished) / len(rows):.1f}/{total}" if total and trained else "",
        _loss(_mean(row.epochs.loss for row in trained)),
        "" if left is None else minutes(left[0]),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _table(headings: Sequence[str], lines: Sequence[Sequence[str | Text]]) -> Table:
    """A table without the columns in which nothing stands."""
    table = Table(box=None, pad_edge=False)
    used = [
        number
        for number, _ in enumerate(headings)
        if number == 0 or any(str(line[number]) for line in lines)
    ]
    for number in used:
        # Numbers do not wrap; names and jobs do, where the terminal is narrow.
        is_text = number == 0 or headings[number] == WHERE
        table.add_column(headings[number], no_wrap=not is_text, overflow="fold")
    for line in lines:
        table.add_row(*(line[number] for number in used))
    return table
