"""How far a sweep is: what runs, what failed and why, how long is left."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from launch.cli import console, entry_point, minutes, new_parser, root_of
from launch.lengths import epochs_by_name
from launch.progress import (
    MOST_LINES,
    Row,
    asked_epochs,
    count_states,
    epochs_of,
    overall_left,
    progress_table,
    row_in_words,
    with_totals,
)
from launch.show import job_and_node
from launch.states import (
    DONE,
    FAILED,
    PENDING,
    STOPPED,
    WAITING,
    End,
    RunState,
    doubts,
    launcher_of,
    states_of,
    with_slurms_word,
)
from stfmri.study.naming import CHECKPOINTS
from stfmri.study.runs import Sweep
from stfmri.study.sweep_file import load_sweep, sweep_folder

EPILOG = """\
states:
  done           its predictions are there
  running        its job runs, or a process holds its lock
  pending        its job waits; SLURM's reason is given with it
  waiting        it waits for the process that submits the runs, or starts them in turn
  failed         it ended with an error, which is shown
  stopped        it ended without an error of its own: cancelled, preempted, or its node went away
  uncertain      its job may be alive: squeue does not answer, or not as it should
  not submitted

launch/submit.py --resume NAME submits what failed or stopped; such a run goes on from its last
checkpoint. The time left is that of the epochs still to come, at the pace of the last ones; a run
that stops early needs less. More than LINES runs are shown as a line a variant, with the means of
its runs.

exit status: 0 every run is done; 1 not yet; 2 the call was wrong; 130 interrupted with Ctrl-C"""
WATCH_S = 5.0
MOST_FAILURES = 10


@dataclass(frozen=True)
class Look:
    """What one look at the sweep found.

    Attributes:
        rows: every run.
        failures: why runs ended that did not finish, or what is not known of them.
        launcher: the process that submits the runs, or starts them in turn; empty for none.
    """

    rows: list[Row]
    failures: list[Text]
    launcher: str

    @property
    def is_complete(self) -> bool:
        """Whether every run is done."""
        return all(row.state == DONE for row in self.rows)

    @property
    def goes_on(self) -> bool:
        """Whether anything will change by itself."""
        return any(row.is_alive for row in self.rows) or (
            bool(self.launcher) and not self.is_complete
        )

    def changed_since(self, before: Look) -> list[Row]:
        """The runs that have another state than before, or another number of epochs."""
        return [
            row
            for row, old in zip(self.rows, before.rows, strict=True)
            if (row.state, row.epochs.finished) != (old.state, old.epochs.finished)
        ]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    epilog = EPILOG.replace("LINES", str(MOST_LINES))
    made = new_parser("status", __doc__ or "", epilog)
    made.add_argument("--sweep", required=True, metavar="NAME", help="as in runs/<NAME>/")
    made.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=WATCH_S,
        metavar="SECONDS",
        help=f"look again every so often (every {WATCH_S:g} s), until nothing runs or waits; into "
        "a file or a pipe, print only what has changed",
    )
    made.add_argument("--all", action="store_true", help="a line for each run, however many")
    return made


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Show the sweep once, or until nothing of it is alive."""
    options = parser().parse_args(arguments)
    sweep = load_sweep(sweep_folder(root_of(options), options.sweep))
    out = console()
    if options.watch is None:
        look = look_at(sweep)
        out.print(overview(look, unfold=options.all))
    elif out.is_terminal:
        look = _watch(out, sweep, max(1.0, options.watch), unfold=options.all)
    else:
        look = _follow(out, sweep, max(1.0, options.watch), unfold=options.all)
    return 0 if look.is_complete else 1


def look_at(sweep: Sweep) -> Look:
    """Read how far every run is."""
    states = with_slurms_word(states_of(sweep))
    launcher = launcher_of(sweep)
    rows = [
        Row(
            state.run,
            state.state,
            epochs_of(state.run),
            asked_epochs(sweep, state.run),
            job_and_node(state),
            state.job_text if state.queue else "",
        )
        for state in states
    ]
    here = "" if launcher is None else f"process {launcher.pid} on {launcher.host}"
    planned = epochs_by_name(sweep, [row.run for row in rows])
    return Look(with_totals(rows, planned), _failures(states), here)


def overview(look: Look, *, unfold: bool = False) -> Group:
    """The table, why runs failed, and the summary line."""
    shown = look.failures if unfold else look.failures[:MOST_FAILURES]
    more = len(look.failures) - len(shown)
    rest = [Text(f"… and {more} more; --all shows them", style="red")] if more else []
    return Group(progress_table(look.rows, unfold=unfold), *shown, *rest, _summary(look))


def _watch(out: Console, sweep: Sweep, pause_s: float, *, unfold: bool) -> Look:
    """Keep one picture of the sweep up to date, in a terminal."""
    with Live(console=out, auto_refresh=False) as live:

        def show(look: Look) -> None:
            live.update(overview(look, unfold=unfold), refresh=True)

        return _until_it_ends(sweep, pause_s, show)


def _follow(out: Console, sweep: Sweep, pause_s: float, *, unfold: bool) -> Look:
    """Print the sweep once, and from then on a line for each run that has changed."""
    last: list[Look] = []

    def show(look: Look) -> None:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        if not last:
            out.print(now)
            out.print(overview(look, unfold=unfold))
        elif changed := look.changed_since(last[-1]):
            for row in changed:
                words = ", ".join(filter(None, (row.state, row_in_words(row), row.where)))
                out.print(f"{now} {row.run.name}: {words}", soft_wrap=True)
            for failure in look.failures:
                if failure not in last[-1].failures:
                    out.print(failure, soft_wrap=True)
            out.print(f"{now} {_summary(look)}", soft_wrap=True)
        last[:] = [look]

    return _until_it_ends(sweep, pause_s, show)


def _until_it_ends(sweep: Sweep, pause_s: float, show: Callable[[Look], None]) -> Look:
    """Look again and again, as long as anything goes on; returns the last look."""
    look = look_at(sweep)
    show(look)
    while look.goes_on:
        time.sleep(pause_s)
        look = look_at(sweep)
        show(look)
    return look


def _failures(states: Sequence[RunState]) -> list[Text]:
    """Why each run that failed, stopped or waits once more ended, and where its log is."""
    lines = [
        Text(f"{state.run.name} {_as_ended(state)}", style="red" if state.state == FAILED else "")
        for state in states
        if state.state in (FAILED, STOPPED) or (state.state == PENDING and state.has_ended)
    ]
    return [*(Text(doubt, style="yellow") for doubt in doubts(states)), *lines]


def _as_ended(state: RunState) -> str:
    """failed: out of memory: … (job 7_2, log …/7_2_0_log.err)."""
    end = state.end or End()
    again = " again" if state.state == PENDING else ""
    job = f"job {state.job_text}" if state.job_text else "its process"
    ending = end.ending.name if end.ending else ""
    if end.line.lower().startswith(ending):
        ending = ""  # the line says it already
    words = [word for word in (ending, end.line) if word] or [f"{job} ended {_before(state)}"]
    if end.log:
        words[-1] += f" ({job}, log {end.log})"
    elif state.job_text:
        words[-1] += f" ({job}, it had not started)"
    return f"{state.state}{again}: {': '.join(words)}"


def _before(state: RunState) -> str:
    """What a run that ended without a word had not come to."""
    has_begun = state.end is not None and state.end.log is not None
    has_checkpoint = any((state.run.folder / CHECKPOINTS).glob("epoch-*"))
    is_early = not state.run.baseline and (has_begun or not state.job_text) and not has_checkpoint
    return "before its first checkpoint" if is_early else "before its predictions"


def _summary(look: Look) -> Text:
    """One line: how many runs are where, and how long the rest takes at the pace so far."""
    text = count_states(row.state for row in look.rows)
    left = overall_left(look.rows)
    if left is not None:
        text += f"; about {minutes(left[0])} left at {left[1]} at a time"
    if look.launcher and any(row.state == WAITING for row in look.rows):
        text += f"; {look.launcher} submits or starts those that wait"
    return Text(text, style="bold")


if __name__ == "__main__":
    sys.exit(main())
