"""Ten faults of a cluster: afterwards nothing may be lost, nothing wrong, and nothing misreported.

A small synthetic cohort is preprocessed once, and its sweep is run once, untouched, on this
machine. Then the same sweep is submitted to a real SLURM on this machine (`slurm/devcluster`), once
a fault. While its runs work, the fault happens. At every point `status` must say what is so: done
where predictions are, running or pending where the queue says so, and of every run that was ended
what ended it. `submit` again must submit what is neither done nor alive, and nothing else. In the
end predictions (to the last digit) and tables must equal those of the untouched sweep.

Training is in fp32 on one thread, where equal means equal bit for bit.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from common import Row, new_parser, publish, said_on_stderr, seconds_text
from fault_cases import FAULTS, QUICK, Fault
from pipeline import (
    Evidence,
    Pipeline,
    WrongError,
    differences,
    is_complete,
    marked_environment,
    predictions_and_tables,
)
from scene import Scene, expect

from slurm.devcluster.cluster import DevCluster

# A limit under ten minutes makes submitit take every USR2 for a time-out
CLUSTER = (
    *("cluster=slurm", "cluster.train.gres=null", "cluster.train.time_min=9"),
    *("cluster.train.cpus=1", "cluster.train.mem_gb=4", "cluster.baselines.cpus=1"),
)


def suffer(fault: Fault, folder: Path, plain: Pipeline, expected: Evidence) -> Scene:
    """Let a fault happen, and compare what the sweep ends with.

    Args:
        plain: the untouched pipeline, whose volumes are used.

    Raises:
        WrongError: saying what is not as it should be.
    """
    root = folder / fault.name
    link_volumes(root, plain)
    options = {"nodes": 1, **fault.cluster}
    with DevCluster(folder / f"slurm-{fault.name}", **options) as cluster:  # type: ignore[arg-type]
        environment = marked_environment() | cluster.environment()
        pipeline = replace(plain, root=root, environment=environment, more=fault.study)
        pipeline = replace(pipeline, cluster=CLUSTER)
        with fault.around(pipeline):
            scene = Scene(pipeline, cluster)
            fault.happens(scene)
            scene.finish()
            wrong = differences(pipeline, predictions_and_tables(pipeline), expected)
    expect(not wrong, f"{fault.name}: {', '.join(wrong)}")
    return scene


def untouched(plain: Pipeline, study: tuple[str, ...]) -> Evidence:
    """What the sweep ends with on this machine, run once."""
    root = plain.root.parent / re.sub(r"\W+", "-", " ".join(("untouched", *study)))
    pipeline = replace(plain, root=root, more=study)
    if not is_complete(pipeline):
        with said_on_stderr(f"untouched, {' '.join(study)}"):
            link_volumes(root, plain)
            pipeline.through(pipeline.submission())
    return predictions_and_tables(pipeline)


def link_volumes(root: Path, plain: Pipeline) -> None:
    """Let another root have the preprocessed volumes, and nothing else."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    (root / "data").symlink_to(plain.root / "data")


def main() -> int:
    """Print what each fault ended in; 1 where something was lost, wrong or misreported."""
    parser = new_parser(__doc__ or "", "Takes about half an hour on two cores, less on more.")
    names = [fault.name for fault in FAULTS]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="where to work, with a short path; the untouched sweep stays there for the next call",
    )
    options = parser.parse_args()
    chosen = [fault for fault in FAULTS if fault.name in options.only]
    if options.quick:
        chosen = [replace(chosen[-1], study=QUICK)]
    rows: list[Row] = []
    wrong: list[str] = []
    with folder_of(options.folder) as folder:
        plain = Pipeline(folder / "untouched", folder / "heads", marked_environment())
        if not list(plain.root.glob("data/cache/*/index.csv")):
            with said_on_stderr("12 synthetic heads, preprocessed"):
                plain.make_heads()
                plain.through(plain.preprocessing())
        for fault in chosen:
            rows.append(outcome(fault, folder, plain, wrong))
    met = sum(row.met is True for row in rows)
    rows.append(Row("in all", f"{met} of {len(rows)} faults", mark="all", met=met == len(rows)))
    return publish("faults", rows, quick=options.quick, packages=("torch",), notes=wrong)


@contextmanager
def folder_of(chosen: Path | None) -> Iterator[Path]:
    """The folder to work in; one that is removed afterwards where none was chosen."""
    if chosen is not None:
        chosen.mkdir(parents=True, exist_ok=True)
        yield chosen.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        yield Path(name)


def outcome(fault: Fault, folder: Path, plain: Pipeline, wrong: list[str]) -> Row:
    """The fault's line; what is wrong is added to `wrong`."""
    started = time.perf_counter()
    ours, met = "wrong", False
    with said_on_stderr(f"{fault.name}: {fault.what}"):
        try:
            scene = suffer(fault, folder, plain, untouched(plain, fault.study))
            ours = (
                f"{scene.submissions} submissions, {scene.submitted_again} runs again, "
                f"status true {scene.looks} times"
            )
            met = True
        except (WrongError, subprocess.CalledProcessError) as error:
            wrong.append(f"{fault.name}: {error}")
            print(f"error: {wrong[-1]}", file=sys.stderr)
    seconds = seconds_text(time.perf_counter() - started)
    return Row(f"{fault.name}: {fault.what}", ours, seconds, mark="as untouched", met=met)


if __name__ == "__main__":
    sys.exit(main())
