"""What a submission will occupy, and for how long: runs, GPUs, jobs, hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from launch.cli import minutes
from launch.cluster import left_to_the_choosing
from launch.lengths import Length, in_words
from launch.machine import run_gb, shared, this_machine
from launch.pace import earlier_pace
from launch.packing import at_once, for_packs, packs_of, side_by_side
from launch.progress import Paces, Row, asked_epochs, epochs_of, makespan, with_totals
from launch.states import RunState
from slurm.gpus import gpus_in, local_gpus
from stfmri.study.config.sweep import ClusterConfig
from stfmri.study.runs import Run, Sweep
from stfmri.study.words import listed, plural


def outlook(
    sweep: Sweep,
    cluster: ClusterConfig,
    states: Sequence[RunState],
    possible: Mapping[str, Sequence[Length]],
    *,
    on_slurm: bool,
) -> list[str]:
    """How the networks that are to be submitted share GPUs, how long they train, and their hours.

    Args:
        possible: the lengths of the runs, and of the inner ones that they wait for.

    Returns:
        Lines for the user. How runs share the processor, where there is no GPU, is printed when
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
        packs = [[run] for run in networks]
        jobs = (
            at_once(cluster, len(networks), gpus) if gpus else _on_cores(sweep, networks, cluster)
        )
        share = f"{_sharing(jobs, gpus)} of this machine: {jobs} at a time"
        lines = [f"{plural(len(networks), 'network')} on {share}"] if gpus else []
    lines += in_words([length for run in networks for length in possible.get(run.name, ())])
    # A run that has still to choose is given the time of its longest candidate.
    longest = {name: max(some, key=lambda one: one.epochs) for name, some in possible.items()}
    runs = {run.name: run for state in states for run in (state.run, *state.tasks)}
    return lines + _hours(sweep, list(runs.values()), longest, packs, jobs)


def _on_cores(sweep: Sweep, networks: Sequence[Run], cluster: ClusterConfig) -> int:
    """How many networks this machine's cores would train at a time, as busy as they are now."""
    variants = {run.variant: run for run in networks}
    memory = run_gb([sweep.config_of(run) for run in variants.values()])
    return shared(
        this_machine(), len(networks), cluster, sweep.config.train.threads, memory
    ).at_once


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
    sweep: Sweep,
    runs: Sequence[Run],
    found: Mapping[str, Length],
    packs: Sequence[Sequence[Run]],
    jobs: int,
) -> list[str]:
    """The time that `packs` take with so many jobs at a time, at the pace of earlier epochs."""
    rows = with_totals(
        [Row(run, "", epochs_of(run), asked_epochs(sweep, run)) for run in runs],
        {name: length.epochs for name, length in found.items()},
    )
    paces = Paces(rows)
    at_a_time = f"{plural(jobs, 'job' if len(packs) < len(runs) else 'run')} at a time"
    if not paces:
        return _as_in_earlier_sweeps(sweep, found, packs, jobs, at_a_time)
    by_name = {row.run.name: row for row in rows}
    left_s = [paces.left_s([by_name[run.name] for run in pack]) for pack in packs]
    together = makespan([0.0] * jobs, left_s)
    return [f"at the pace of the epochs so far: about {minutes(together)} with {at_a_time}"]


def _as_in_earlier_sweeps(
    sweep: Sweep,
    found: Mapping[str, Length],
    packs: Sequence[Sequence[Run]],
    jobs: int,
    at_a_time: str,
) -> list[str]:
    """The time by other sweeps that trained the same networks on the same volumes."""
    variants = {run.variant: run for pack in packs for run in pack}
    paces = {name: earlier_pace(sweep.config_of(run)) for name, run in variants.items()}
    known = {name: pace for name, pace in paces.items() if pace is not None}
    if not known or any(run.name not in found for pack in packs for run in pack):
        return ["how long the networks take will be shown after the first epoch"]
    seconds = [
        max(
            found[run.name].epochs * found[run.name].subjects * known[run.variant].volume_s
            if run.variant in known
            else 0.0
            for run in pack
        )
        for pack in packs
    ]
    texts = {f"{p.variant}{f' on {p.device}' if p.device else ''}": None for p in known.values()}
    others = [name for name, pace in paces.items() if pace is None]
    more = f"; without {listed(others)}, which no earlier sweep trained" if others else ""
    together = minutes(makespan([0.0] * jobs, seconds))
    return [f"at the pace of {listed(list(texts))}: about {together} with {at_a_time}{more}"]
