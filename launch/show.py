"""Tables in the terminal: what will be submitted, and how far each run is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeAlias

from rich.console import Console
from rich.table import Table

from launch.lengths import possible_lengths, without_effect
from launch.outlook import outlook, slurm_packs
from launch.packing import for_packs
from launch.plan import Opened
from launch.progress import MOST_LINES, count_states, styled
from launch.states import PENDING, WAITING, RunState, doubts
from stfmri.study.config.sweep import ClusterConfig, StageResources
from stfmri.study.runs import Run
from stfmri.study.words import plural

PlanRow: TypeAlias = tuple[Run, str, str, str]  # with its state, where it goes, and its request

MOST_ROWS = 60  # of a table; a longer one is cut, and says so


def show_plan(out: Console, opened: Opened, states: Sequence[RunState], *, on_slurm: bool) -> None:
    """Print what submitting will do with each run, and what that occupies for how long."""
    sweep, cluster = opened.sweep, opened.cluster
    where = "SLURM" if on_slurm else "this machine"
    packs = slurm_packs(sweep, cluster, states)
    table = Table("run", "state", "submit to", "asking for", box=None, pad_edge=False)
    rows = [
        (
            state.run,
            state.state,
            where if state.is_to_do else "",
            _request_of(state.run, cluster, packs)
            if on_slurm and state.is_to_do
            else job_and_node(state),
        )
        for state in states
    ]
    lines = _folded(rows, networks=len(rows) > MOST_LINES)
    for name, state, to, request in lines[:MOST_ROWS]:
        table.add_row(name, styled(state), to, request)
    out.print(f"sweep {sweep.name} in {sweep.folder}", soft_wrap=True)
    out.print(table)
    _print_cut(out, len(lines))
    to_do = sum(state.is_to_do for state in states)
    new = "" if opened.is_new else ", as first submitted"
    out.print(f"{count_states(state.state for state in states)}; {to_do} to submit{new}")
    networks = [run for state in states for run in state.tasks if not run.baseline]
    runs = [run for state in states for run in (state.run, *state.tasks)]
    lengths = possible_lengths(sweep, runs) if networks else {}
    for line in outlook(sweep, cluster, states, lengths, on_slurm=on_slurm):
        out.print(line, soft_wrap=True)
    caution(out, without_effect(sweep, [lengths.get(run.name, []) for run in networks]))
    caution(out, doubts(states))
    if opened.note:
        out.print(opened.note, style="yellow", soft_wrap=True)


def _folded(rows: Sequence[PlanRow], *, networks: bool) -> list[tuple[str, ...]]:
    """Runs of one variant that are alike in a line, such as `sfcn-scratch: 10 runs`.

    Args:
        networks: whether those of networks, too, and not of baselines alone.
    """

    def alike(row: PlanRow) -> tuple[str, ...]:
        run, *more = row
        return (run.variant if networks or run.baseline else run.name, *more)

    lines = []
    for (name, *more), some in itertools.groupby(rows, alike):
        runs = [row[0] for row in some]
        several = f"{name}: {plural(len(runs), 'run')}"
        lines.append((runs[0].name if len(runs) == 1 else several, *more))
    return lines


def _request_of(run: Run, cluster: ClusterConfig, packs: Sequence[Sequence[Run]]) -> str:
    """What the run's job asks SLURM for."""
    if run.baseline:
        return requests(cluster.baselines, 1)
    return requests(for_packs(cluster.train, packs), max(map(len, packs), default=1))


def requests(stage: StageResources, runs_a_job: int) -> str:
    """What a job asks for, in a few words."""
    words = [
        stage.gres or "no GPU",
        plural(stage.cpus, "CPU"),
        f"{stage.mem_gb:g} GB" if stage.mem_gb else "",
        f"{stage.time_min} min",
        f"partition {stage.partition}" if stage.partition else "",
        f"for {runs_a_job} runs" if runs_a_job > 1 else "",
    ]
    return ", ".join(word for word in words if word)


def job_and_node(state: RunState) -> str:
    """Which job or process has the run, and where; of a run that chooses, how far it is."""
    if not state.is_alive:
        return state.choosing
    holder = state.holder
    node = f"on {holder.host}" if holder else ""
    if state.state == WAITING and holder:
        where = f"process {holder.pid} {node} submits or starts it"
    elif state.queue is None:
        where = f"process {holder.pid} {node}" if holder else f"job {state.job_text}"
    else:
        waits = f"({state.queue.reason})" if state.state == PENDING else ""
        where = " ".join(word for word in ("job", state.job_text, waits, node) if word)
    return ", ".join(filter(None, (where, state.choosing)))


def _print_cut(out: Console, rows: int) -> None:
    if rows > MOST_ROWS:
        out.print(f"… and {rows - MOST_ROWS} more")


def caution(out: Console, lines: Sequence[str]) -> None:
    """Print what should be known before anything trains."""
    for line in lines:
        out.print(line, style="yellow", soft_wrap=True)
