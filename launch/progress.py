"""How far runs are: epochs, loss, time left; a line a run, or a variant where they are many."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rich.table import Table
from rich.text import Text

from launch.cli import minutes
from launch.states import ALIVE, DONE, FAILED, NEW, PENDING, RUNNING, STOPPED, UNCERTAIN
from stfmri.study import history
from stfmri.study.runs import Run, Sweep
from stfmri.study.words import plural

MOST_LINES = 30  # of runs; more are folded
RECENT = 5  # epochs whose mean is the pace
WHERE = "where"  # the column of jobs and processes
STYLES = {DONE: "green", RUNNING: "cyan", PENDING: "blue", FAILED: "red", UNCERTAIN: "yellow"}
STATES = (DONE, RUNNING, PENDING, UNCERTAIN, FAILED, STOPPED, NEW)


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
        total: how many the run will have; None before the first, which says so: a small cohort has
            more than `train.epochs`, to reach `train.steps`.
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
    """

    run: Run
    state: str
    epochs: Epochs
    total: int
    where: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it runs or waits."""
        return self.state in ALIVE

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


def with_totals(rows: Sequence[Row]) -> list[Row]:
    """The rows with the epochs that each will have: its own word, else another's of its variant."""
    known = {row.run.variant: row.epochs.total for row in rows if row.epochs.total}
    return [
        replace(row, total=row.epochs.total or known.get(row.run.variant) or row.total)
        for row in rows
    ]


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

    A run that has no epoch yet is given the pace of its variant, or else of all.
    """
    at_work = [row for row in rows if row.state == RUNNING and row.total]
    paces = _paces(rows)
    if not at_work or not paces:
        return None
    mean = sum(paces.values()) / len(paces)
    to_come = sum(
        paces.get(row.run.variant, mean) * (row.total - row.epochs.finished)
        for row in rows
        if row.state != DONE
    )
    longest = max((row.left_s or 0.0 for row in at_work), default=0.0)
    return max(to_come / len(at_work), longest), len(at_work)


def count_states(states: Iterable[str]) -> str:
    """18 runs: 4 done, 2 running, 12 pending."""
    counts = Counter(states)
    known = [state for state in STATES if counts[state]]
    said = ", ".join(f"{counts[state]} {state}" for state in known)
    return f"{plural(counts.total(), 'run')}: {said}"


def styled(state: str) -> Text:
    """The state in its colour."""
    return Text(state, style=STYLES.get(state, ""))


def _paces(rows: Sequence[Row]) -> Mapping[str, float]:
    """Seconds an epoch, by variant, of those that have finished one."""
    paces = {}
    for name, some in _by_variant(rows).items():
        finished = sum(row.epochs.finished for row in some)
        if finished:
            paces[name] = sum(row.epochs.seconds for row in some) / finished
    return paces


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
    if row.left_s is not None:
        spent = f"{minutes(row.left_s)} left"
    else:
        spent = minutes(epochs.seconds) if epochs.finished else ""
    return (
        row.run.name,
        styled(row.state),
        f"{epochs.finished}/{row.total}" if row.total else "",
        _loss(epochs.loss),
        _loss(epochs.val_loss),
        spent,
        row.where,
    )


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
