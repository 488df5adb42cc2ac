"""Build a cohort's volumes as an array job; the last job writes the index."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence

from rich.console import Console

from launch.cli import console, entry_point, new_parser, root_of
from launch.cluster import resources, uses_slurm
from launch.freeze import freeze_code
from launch.job import BuildPart, Publish
from launch.states import LOGS
from preprocessing.cohorts import Scan, find_scans
from slurm.errors import ClusterError
from slurm.executor import submit_array
from slurm.queue import jobs_in
from stfmri.study import locks
from stfmri.study.caches import configurations
from stfmri.study.config import Config
from stfmri.study.errors import ConfigError, resumable

SCANS_A_PART = 16  # some three minutes of brain extraction on one core
EPILOG = """\
examples:
  python launch/preprocess.py data=brats_ixi data.brats=/data/BraTS data.ixi=/data/IXI
  python launch/preprocess.py data=table data.table=cohort.csv cluster=mysite --jobs 8

The arguments are those of python -m preprocessing, which does the same on this machine; without
SLURM it is what this command does. Started again after a failure, it goes on from what is there.

exit status: 0 submitted, or built; 1 in part or not at all; 2 the call was wrong"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = new_parser("preprocess", __doc__ or "", EPILOG)
    made.add_argument("--sweep", metavar="CHOICE", help="take the values of conf/sweep/CHOICE.yaml")
    made.add_argument(
        "--jobs", type=int, default=0, metavar="N", help="worker processes (default: one a core)"
    )
    made.add_argument("--dry-run", action="store_true", help="count the scans and submit nothing")
    made.add_argument("overrides", nargs="*", metavar="key=value", help="or group=choice")
    return made


@entry_point
@resumable
def main(arguments: Sequence[str] | None = None) -> int:
    """Compose, find the scans, deal them out to jobs, submit."""
    options = parser().parse_intermixed_args(arguments)
    root = root_of(options)
    if options.jobs < 0:
        raise ConfigError(f"--jobs must be at least 1, found {options.jobs}")
    out = console()
    configs = configurations(options.overrides, options.sweep, root)
    on_slurm = uses_slurm(configs[0].cluster)  # the same for all: no axis of a sweep
    for config in configs:
        scans = find_scans(config.data)
        if on_slurm:
            _submit_cohort(out, config, scans, options)
        else:
            out.print(
                f"no SLURM is used: {len(scans)} scans are preprocessed on this machine, to "
                f"{config.cache}",
                soft_wrap=True,
            )
    if options.dry_run or on_slurm:
        return 0
    return _build_here(options)


def _submit_cohort(
    out: Console, config: Config, scans: Sequence[Scan], options: argparse.Namespace
) -> None:
    stage = config.cluster.preprocess
    count = max(1, min(-(-len(scans) // SCANS_A_PART), stage.array_parallelism))
    out.print(f"{len(scans)} scans in {count} jobs, to {config.cache}", soft_wrap=True)
    if options.dry_run:
        return
    workers = options.jobs or config.preprocessing.jobs or stage.cpus
    with locks.lock(config.cache / "jobs"):
        _submit(out, config, scans, count, workers)


def _submit(out: Console, config: Config, scans: Sequence[Scan], count: int, workers: int) -> None:
    """Submit `count` jobs that build, and behind them the one that writes the index."""
    folder, cluster = config.cache / "jobs", config.cluster
    earlier = jobs_in(folder)  # the frozen code is every job's working directory
    if earlier:
        raise ClusterError(
            f"{config.cache} is being built already, by job {', '.join(earlier)}: wait for it, or "
            f"end it with scancel {' '.join(earlier)}"
        )
    # Names of this submission alone: no record that an earlier one left is taken for theirs.
    mine = secrets.token_hex(4)
    # Dealt out like cards: cohorts list the scans that need brain extraction in one stretch.
    parts = {f"{mine}-{number}-of-{count}": scans[number::count] for number in range(count)}
    calls = [BuildPart(config, some, part, workers) for part, some in parts.items()]
    logs, code = folder / LOGS, freeze_code(folder)
    name = config.data.name[:90]
    stage = resources(cluster.preprocess)
    jobs = submit_array(calls, stage, folder=logs, name=f"{name}-volumes", workdir=code)
    [last] = submit_array(
        [Publish(config, scans, tuple(parts))],
        resources(cluster.collect),
        folder=logs,
        name=f"{name}-index",
        workdir=code,
        depends_on=jobs,
    )
    numbers = ", ".join(dict.fromkeys(job.job_id for job in jobs))
    out.print(f"submitted as job {numbers}; job {last.job_id} writes the index")
    out.print(f"next: squeue --me; logs are in {logs}", soft_wrap=True)


def _build_here(options: argparse.Namespace) -> int:
    from preprocessing.__main__ import main as build

    words = ["--root", str(root_of(options)), "--jobs", str(options.jobs)]
    words += ["--sweep", options.sweep] if options.sweep else []
    return build([*words, *options.overrides])


if __name__ == "__main__":
    sys.exit(main())
