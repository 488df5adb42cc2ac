"""Kill every step at random moments: afterwards nothing may be lost, and nothing may be wrong.

A small synthetic cohort goes through the pipeline once, untouched. Then preprocessing, training,
submission and collection are each killed (SIGKILL, half of the time the leading process alone)
after a time drawn from zero to what the step took untouched, started again, killed again, and now
and then let through. Whenever a step ends, its files must equal those of the untouched pipeline:
voxel hashes, predictions to the last digit, every table. No process and no temporary file may be
left over. Then the same is done to a local SLURM cluster: to the process that submits, and to the
processes of its jobs.

Training is in fp32 on one thread, where equal means equal bit for bit.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common import Row, new_parser, publish, said_on_stderr, seconds_text
from pipeline import (
    Evidence,
    Pipeline,
    WrongError,
    differences,
    first_predictions,
    is_complete,
    is_python,
    kill,
    marked_environment,
    marked_processes,
    predictions_and_tables,
    tables,
    voxels,
    wait_for_queue,
    without_cache,
    without_first_run,
    without_results,
    without_sweep,
)

from slurm.devcluster.cluster import DevCluster

SHARES = {"preprocessing": 50, "training": 60, "submission": 40, "collection": 30, "SLURM": 20}
IN_A_ROW = 3  # kills before a step may end
# Nothing can compute on the local cluster's fake GPUs
ON_SLURM = (
    *("cluster=slurm", "cluster.train.gres=null", "cluster.train.cpus=1"),
    *("cluster.train.mem_gb=2", "cluster.baselines.cpus=1", "cluster.baselines.mem_gb=2"),
)


@dataclass
class Stage:
    """A step that is killed.

    Attributes:
        command: of a pipeline.
        reset: takes away what the step made, so that it begins anew.
        evidence: what it made, to compare with the untouched pipeline's.
    """

    name: str
    command: Callable[[Pipeline], list[str]]
    reset: Callable[[Pipeline], None]
    evidence: Callable[[Pipeline], Evidence]
    kills: int = 0
    ends: int = 0
    seconds: float = field(default=0.0)


def stages() -> list[Stage]:
    """Every step, in its order."""
    return [
        Stage("preprocessing", Pipeline.preprocessing, without_cache, voxels),
        Stage("training", Pipeline.training, without_first_run, first_predictions),
        Stage("submission", Pipeline.submission, without_sweep, predictions_and_tables),
        Stage("collection", Pipeline.collection, without_results, tables),
    ]


def killed(pipeline: Pipeline, arguments: list[str], within_s: float, draw: random.Random) -> bool:
    """Kill a step at a random moment; whether it had not ended by then."""
    process = pipeline.start(arguments)
    try:
        process.communicate(timeout=draw.uniform(0, within_s))
    except subprocess.TimeoutExpired:
        everyone = draw.random() < 0.5
        (os.killpg if everyone else os.kill)(process.pid, signal.SIGKILL)
        # Its output may be held open by an orphan, so it is not read to its end.
        process.wait()
        return True
    return False


def compare(stage: Stage, pipeline: Pipeline, expected: Evidence) -> None:
    """Compare what a step has ended with.

    Raises:
        WrongError: naming what differs, or is left over.
    """
    if wrong := differences(pipeline, stage.evidence(pipeline), expected):
        raise WrongError(f"{stage.name}: after {stage.kills} kills: {', '.join(wrong)}")
    print(f"  as without kills after {stage.kills} kills", file=sys.stderr, flush=True)


def torment(
    stage: Stage, pipeline: Pipeline, expected: Evidence, kills: int, draw: random.Random
) -> None:
    """Kill a step so often, and compare whatever it ends with.

    Raises:
        WrongError: naming what differs, or is left over.
    """
    arguments = stage.command(pipeline)
    stage.reset(pipeline)
    while stage.kills < kills:
        in_a_row = 0
        while stage.kills < kills and in_a_row < IN_A_ROW:
            if not killed(pipeline, arguments, stage.seconds, draw):
                break
            stage.kills += 1
            in_a_row += 1
        pipeline.through(arguments)
        stage.ends += 1
        compare(stage, pipeline, expected)
        stage.reset(pipeline)
    pipeline.through(arguments)  # for the next stage


def torment_cluster(
    pipeline: Pipeline, expected: Evidence, kills: int, draw: random.Random
) -> Stage:
    """Kill processes that submit to SLURM, and processes of their jobs, until all is done.

    Raises:
        WrongError: naming what differs, or is left over.
    """
    stage = Stage("SLURM", Pipeline.submission, without_sweep, predictions_and_tables)
    arguments = stage.command(pipeline)
    stage.reset(pipeline)
    while stage.kills < kills:
        for _ in range(IN_A_ROW):
            if draw.random() < 0.5:
                stage.kills += killed(pipeline, arguments, 6.0, draw)
            else:
                pipeline.through(arguments)
                time.sleep(draw.uniform(0, 10))
                if victims := [pid for pid in marked_processes(pipeline) if is_python(pid)]:
                    stage.kills += kill(draw.choice(victims))
        for _ in range(5):
            pipeline.through(arguments)
            wait_for_queue(pipeline)
            if is_complete(pipeline):
                break
        stage.ends += 1
        compare(stage, pipeline, expected)
        stage.reset(pipeline)
    return stage


def main() -> int:
    """Print the counts; 1 where something was lost or wrong."""
    parser = new_parser(__doc__ or "", "Takes about half an hour on two cores.")
    parser.add_argument("--kills", type=int, default=sum(SHARES.values()), help="default 200")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (default 0)")
    parser.add_argument(
        "--stages", nargs="+", choices=SHARES, default=[*SHARES], help="default: all of them"
    )
    options = parser.parse_args()
    share = (5 if options.quick else options.kills) / sum(SHARES.values())
    draw = random.Random(options.seed)
    rows: list[Row] = []
    wrong = ""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            for stage in everything(folder, share, draw, options.stages):
                rows.append(row_of(stage))
        except WrongError as error:
            wrong = str(error)
            print(f"error: {wrong}", file=sys.stderr)
    total = sum(int(row.ours.split()[0]) for row in rows)
    rows.append(Row("in all", f"{total} kills", mark="nothing lost or wrong", met=not wrong))
    return publish("kills", rows, quick=False, packages=("torch",), notes=[wrong] if wrong else [])


def everything(
    folder: Path, share: float, draw: random.Random, chosen: Sequence[str]
) -> Iterator[Stage]:
    """The chosen stages, tormented."""
    environment = marked_environment()
    heads = folder / "heads"
    plain = Pipeline(folder / "untouched", heads, environment)
    with said_on_stderr("12 synthetic heads, and the untouched pipeline"):
        plain.make_heads()
        took = {"preprocessing": plain.through(plain.preprocessing())}
        took["submission"] = plain.through(plain.submission())
        expected = {stage.name: stage.evidence(plain) for stage in stages()}
        without_first_run(plain)
        took["training"] = plain.through(plain.training())
        took["collection"] = plain.through(plain.collection())
    target = Pipeline(folder / "killed", heads, environment)
    for stage in stages():
        if stage.name not in chosen:
            if stage.name in ("preprocessing", "submission"):
                target.through(stage.command(target))  # for those that follow
            continue
        stage.seconds = took[stage.name]
        started = time.perf_counter()
        with said_on_stderr(f"{stage.name}, which takes {stage.seconds:.0f} s"):
            if stage.name == "training":
                target.through(target.submission())
            torment(stage, target, expected[stage.name], round(SHARES[stage.name] * share), draw)
        stage.seconds = time.perf_counter() - started
        yield stage
    if "SLURM" in chosen:
        with DevCluster(folder / "slurm", accounting=False) as cluster:
            environment = {**environment, **cluster.environment()}
            on_cluster = Pipeline(folder / "on_slurm", heads, environment, cluster=ON_SLURM)
            on_cluster.through(on_cluster.preprocessing())
            with said_on_stderr("SLURM"):
                started = time.perf_counter()
                kills = max(1, round(SHARES["SLURM"] * share))
                stage = torment_cluster(on_cluster, expected["submission"], kills, draw)
            stage.seconds = time.perf_counter() - started
            yield stage


def row_of(stage: Stage) -> Row:
    """What was done to a stage."""
    return Row(
        f"{stage.name}: {stage.ends} times to its end, each as without kills",
        f"{stage.kills} kills",
        seconds_text(stage.seconds),
    )


if __name__ == "__main__":
    sys.exit(main())
