"""How far a sweep is: what runs, what failed and why, how long is left."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from launch.cli import console, entry_point, minutes, new_parser, root_of
from launch.show import MOST_ROWS, count_states, job_and_node, styled
from launch.states import (
    DONE,
    FAILED,
    NEW,
    RUNNING,
    STOPPED,
    Epochs,
    RunState,
    epochs_of,
    states_of,
    why_failed,
)
from stfmri.study import locks
from stfmri.study.runs import Sweep, load_sweep, sweep_folder

EPILOG = """\
states:
  done           its predictions are there
  running        its job runs, or a process holds its lock
  pending        its job waits; SLURM's reason stands beside it
  failed         it ended with an error, which is shown
  stopped        it ended without an error: cancelled, or its node went away
  not submitted

launch/submit.py with the same sweep submits what failed or stopped; such a run goes on from its
last checkpoint. The time left is that of the epochs still to come, at the pace so far.

exit status: 0 every run is done; 1 not yet; 2 the call was wrong"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = new_parser("status", __doc__ or "", EPILOG)
    made.add_argument("--sweep", required=True, metavar="NAME", help="as in runs/<NAME>/")
    made.add_argument(
        "--watch",
        type=float,
        metavar="SECONDS",
        help="look again every so often, until nothing runs or waits",
    )
    return made


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Show the sweep once, or until nothing of it is alive."""
    options = parser().parse_args(arguments)
    sweep = load_sweep(sweep_folder(root_of(options), options.sweep))
    out = console()
    states = states_of(sweep)
    if options.watch is None:
        out.print(overview(sweep, states))
    else:
        states = _watch(out, sweep, states, max(1.0, options.watch))
    return 0 if all(state.state == DONE for state in states) else 1


def overview(sweep: Sweep, states: Sequence[RunState]) -> Group:
    """The table, why runs failed, and the summary line."""
    total = sweep.config.train.epochs
    epochs = {state.run.name: epochs_of(state.run) for state in states}
    totals = {
        # A baseline has none.
        state.run.name: 0 if state.run.baseline else state.run.overrides.get("train.epochs", total)
        for state in states
    }
    headings = ("run", "state", "epochs", "loss", "trained for", "left", "where")
    table = Table(*headings, box=None, pad_edge=False)
    for state in states[:MOST_ROWS]:
        so_far = epochs[state.run.name]
        left = _left(so_far, totals[state.run.name]) if state.state == RUNNING else None
        table.add_row(
            state.run.name,
            styled(state.state),
            f"{so_far.finished}/{totals[state.run.name]}" if totals[state.run.name] else "",
            "" if so_far.loss is None else f"{so_far.loss:.4f}",
            minutes(so_far.seconds) if so_far.finished else "",
            minutes(left) if left is not None else "",
            job_and_node(state),
        )
    lines = [Text(f"… and {len(states) - MOST_ROWS} more")] if len(states) > MOST_ROWS else []
    summary = _summary(states, epochs, totals)
    launcher = locks.holder(sweep.folder)
    if launcher is not None and any(state.state == NEW for state in states):
        # On this machine runs wait within the command that submitted them.
        summary.append(f"; process {launcher.pid} on {launcher.host} starts the rest in turn")
    return Group(table, *lines, *_failures(sweep, states), summary)


def _watch(out: Console, sweep: Sweep, states: list[RunState], pause_s: float) -> list[RunState]:
    with Live(overview(sweep, states), console=out, auto_refresh=False) as live:
        while any(state.is_alive for state in states):
            time.sleep(pause_s)
            states = states_of(sweep)
            live.update(overview(sweep, states), refresh=True)
    return states


def _failures(sweep: Sweep, states: Sequence[RunState]) -> list[Text]:
    """Why each failed or stopped run ended."""
    lines = []
    for state in states:
        if state.state == FAILED:
            why = why_failed(state.run, state.job, sweep.folder) or ""
            lines.append(Text(f"{state.run.name} failed: {why}", style="red"))
        elif state.state == STOPPED:
            job = f"job {state.job_text}" if state.job_text else "its process"
            lines.append(Text(f"{state.run.name} stopped: {job} ended before its predictions"))
    return lines


def _summary(states: Sequence[RunState], epochs: dict[str, Epochs], totals: dict[str, int]) -> Text:
    """One line: how many runs are where, and how long the rest takes at the pace so far."""
    finished = sum(item.finished for item in epochs.values())
    spent = sum(item.seconds for item in epochs.values())
    open_runs = [state.run.name for state in states if state.state != DONE]
    to_come = sum(totals[name] - epochs[name].finished for name in open_runs)
    at_work = sum(state.state == RUNNING and totals[state.run.name] > 0 for state in states)
    text = count_states(states)
    if finished and to_come and at_work:
        left = spent / finished * to_come / at_work
        text += f"; about {minutes(left)} left at {at_work} at a time"
    return Text(text, style="bold")


def _left(epochs: Epochs, total: int) -> float | None:
    """Seconds that the epochs to come will take."""
    if not epochs.finished:
        return None
    return epochs.seconds / epochs.finished * (total - epochs.finished)


if __name__ == "__main__":
    sys.exit(main())
