"""What a submission will occupy, and for how long: runs, GPUs, jobs, hours."""

from __future__ import annotations

from collections.abc import Sequence

from launch.cli import minutes
from launch.cluster import left_to_the_choosing
from launch.packing import at_once, for_packs, packs_of, side_by_side
from launch.progress import Paces, Row, asked_epochs, epochs_of, makespan, with_totals
from launch.states import RunState
from slurm.gpus import gpus_in, local_gpus
from stfmri.study.config.sweep import ClusterConfig
from stfmri.study.runs import Run, Sweep
from stfmri.study.words import plural


def outlook(
    sweep: Sweep, cluster: ClusterConfig, states: Sequence[RunState], *, on_slurm: bool
) -> list[str]:
    """How the networks that are to be submitted share GPUs, and their hours where any has trained.

    Returns:
        Lines for the user; none where the processor alone trains them, whose share is printed when
        they start.
    """
    networks = _to_do(states)
    if not networks:
        return []
    if on_slurm:
        packs = slurm_packs(sweep, cluster, states)
        jobs = min(len(packs), cluster.train.array_parallelism)
        lines = [_on_slurm(packs, cluster)]
    else:
        gpus = len(local_gpus())
        if not gpus:
            return []
        jobs = at_once(cluster, len(networks), gpus)
        packs = [[run] for run in networks]
        lines = [
            f"{plural(len(networks), 'network')} on {_sharing(jobs, gpus)} of this machine: "
            f"{jobs} at a time"
        ]
    return lines + _hours(sweep, states, packs, jobs)


def slurm_packs(
    sweep: Sweep, cluster: ClusterConfig, states: Sequence[RunState]
) -> list[Sequence[Run]]:
    """The networks that each job will train, of those that are to be submitted to SLURM."""
    return packs_of(left_to_the_choosing(sweep, _to_do(states)), cluster)


def _to_do(states: Sequence[RunState]) -> list[Run]:
    return [run for state in states for run in state.tasks if not run.baseline]


def _on_slurm(packs: Sequence[Sequence[Run]], cluster: ClusterConfig) -> str:
    """Such as `18 networks in 3 jobs: each 2 GPUs × 3 side by side, 24 CPUs, 96 GB`."""
    runs = sum(map(len, packs))
    gpus = gpus_in(cluster.train.gres)
    asked = for_packs(cluster.train, packs)
    parts = [
        _sharing(max(map(len, packs)), gpus),
        plural(asked.cpus, "CPU"),
        f"{asked.mem_gb:g} GB" if asked.mem_gb else "",
    ]
    each = "each " if len(packs) > 1 else ""
    text = f"{plural(runs, 'network')} in {plural(len(packs), 'job')}: {each}"
    text += ", ".join(part for part in parts if part)
    most = cluster.train.array_parallelism
    return text + (f"; at most {plural(most, 'job')} at a time" if most < len(packs) else "")


def _sharing(runs: int, gpus: int) -> str:
    """Such as `2 GPUs × 3 side by side`."""
    share = side_by_side(runs, gpus)
    return (plural(gpus, "GPU") if gpus else "no GPU") + (
        f" × {share} side by side" if share > 1 else ""
    )


def _hours(
    sweep: Sweep, states: Sequence[RunState], packs: Sequence[Sequence[Run]], jobs: int
) -> list[str]:
    """The time that `packs` take with so many jobs at a time, at the pace of earlier epochs."""
    runs = {run.name: run for state in states for run in (state.run, *state.tasks)}
    rows = with_totals(
        [Row(run, "", epochs_of(run), asked_epochs(sweep, run)) for run in runs.values()]
    )
    paces = Paces(rows)
    if not paces:
        return []
    by_name = {row.run.name: row for row in rows}
    left_s = [paces.left_s([by_name[run.name] for run in pack]) for pack in packs]
    together = makespan([0.0] * jobs, left_s)
    return [
        f"at the pace of the epochs so far: about {minutes(together)} with "
        f"{plural(jobs, 'job' if len(packs) < len(runs) else 'run')} at a time"
    ]
