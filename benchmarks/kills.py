"""Kill every step at random moments: afterwards nothing may be lost, and nothing may be wrong.

A small synthetic cohort goes through the pipeline once, untouched. Then preprocessing, training,
submission and collection are each killed (SIGKILL, half of the time the leading process alone)
after a time drawn from zero to what the step took untouched, started again, killed again, and now
and then let through. Whenever a step ends, its files must equal those of the untouched pipeline:
voxel hashes, predictions to the last digit, every table. No process and no temporary file may be
left over. With `--slurm` the same is done to a local SLURM cluster: to the process that submits,
and to the processes of its jobs.

Training is in fp32 on one thread, where equal means equal bit for bit.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common import Row, new_parser, publish, said_on_stderr, seconds_text

from slurm.devcluster.cluster import DevCluster
from stfmri.study.shards import Volumes, read_index, voxel_sha256

REPOSITORY = Path(__file__).resolve().parent.parent
SHARES = {"preprocessing": 50, "training": 60, "submission": 40, "collection": 30, "SLURM": 20}
IN_A_ROW = 3  # kills before a step may end
PATIENCE_S = 10.0  # for orphans to end
LIMIT_S = 600.0  # for a step that is let through
MARK = "STFMRI_KILLS"
Evidence = dict[str, object]  # by what it is
SETTINGS = (
    *("data.classes=[LGG,HGG]", "preprocessing.spacing_mm=8", "split.n=2", "sweep.models=[sfcn]"),
    *("sweep.baselines=[shape]", "train.epochs=4", "train.steps=0", "train.threads=1"),
    *("train.precision=fp32", "train.learning_rate=1e-3", "checkpoint.every_s=0"),
)


class WrongError(Exception):
    """Something was lost, left over or is not as it would be without kills."""


@dataclass
class Pipeline:
    """The steps of one root folder, as command lines."""

    root: Path
    heads: Path
    environment: dict[str, str]
    cluster: str = "cluster=local"

    @property
    def settings(self) -> list[str]:
        """Arguments that all steps share."""
        chosen = [*SETTINGS, f"data.folder={self.heads}"]
        return ["--sweep", "demo", "--root", str(self.root), *chosen]

    def preprocessing(self) -> list[str]:
        """Scans to shards."""
        return ["-m", "preprocessing", "--jobs", "2", *self.settings]

    def submission(self) -> list[str]:
        """All runs and the report."""
        return ["launch/submit.py", *self.settings, self.cluster]

    def training(self) -> list[str]:
        """The first run, by hand."""
        return ["-m", "stfmri.train", "--config", str(self.runs[0] / "config.yaml")]

    def collection(self) -> list[str]:
        """Predictions to tables, figures and report."""
        return ["-m", "stfmri.collect", "--sweep", "demo", "--root", str(self.root)]

    @property
    def runs(self) -> list[Path]:
        """Folders of the networks' runs."""
        return sorted(self.root.glob("runs/demo/sfcn-*/fold*"))

    def start(self, arguments: list[str]) -> subprocess.Popen[str]:
        """Start a step in a session of its own."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def through(self, arguments: list[str]) -> float:
        """Let a step end; the seconds it took.

        Raises:
            WrongError: where it fails, or takes far too long.
        """
        started = time.perf_counter()
        process = self.start(arguments)
        try:
            said, _ = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            raise WrongError(f"{arguments[:2]} did not end within {LIMIT_S:.0f} s") from error
        if process.returncode:
            raise WrongError(f"{arguments[:2]} ended with {process.returncode}:\n{said[-2000:]}")
        return time.perf_counter() - started

    def killed(self, arguments: list[str], within_s: float, draw: random.Random) -> bool:
        """Kill a step at a random moment; whether it had not ended by then."""
        process = self.start(arguments)
        try:
            process.communicate(timeout=draw.uniform(0, within_s))
        except subprocess.TimeoutExpired:
            everyone = draw.random() < 0.5
            (os.killpg if everyone else os.kill)(process.pid, signal.SIGKILL)
            # Its output may be held open by an orphan, so it is not read to its end.
            process.wait()
            return True
        return False


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


def without_cache(pipeline: Pipeline) -> None:
    """Before preprocessing."""
    shutil.rmtree(pipeline.root / "data", ignore_errors=True)


def without_first_run(pipeline: Pipeline) -> None:
    """Before the first run, of which the configuration stays."""
    for path in pipeline.runs[0].iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "config.yaml":
            path.unlink()


def without_sweep(pipeline: Pipeline) -> None:
    """Before submission."""
    shutil.rmtree(pipeline.root / "runs", ignore_errors=True)
    without_results(pipeline)


def without_results(pipeline: Pipeline) -> None:
    """Before collection."""
    shutil.rmtree(pipeline.root / "results", ignore_errors=True)


def voxels(pipeline: Pipeline) -> Evidence:
    """The hash of each subject's voxels, as they are in the shards."""
    [index] = pipeline.root.glob("data/cache/*/index.csv")
    rows = {row.subject_id: row for row in read_index(index.parent)}
    volumes = Volumes(index.parent, list(rows.values()))
    for subject_id, row in rows.items():
        if voxel_sha256(volumes[subject_id]) != row.sha256:
            raise WrongError(f"{subject_id}: its voxels are not those of the index")
    return {subject_id: row.sha256 for subject_id, row in rows.items()}


def first_predictions(pipeline: Pipeline) -> Evidence:
    """Of the first run."""
    return {"predictions": (pipeline.runs[0] / "predictions.csv").read_text(encoding="utf-8")}


def predictions_and_tables(pipeline: Pipeline) -> Evidence:
    """Of all runs, baselines included, and what was collected from them."""
    files = sorted(pipeline.root.glob("runs/demo/*/fold*/predictions.csv"))
    read = {str(file.relative_to(pipeline.root)): file.read_text("utf-8") for file in files}
    return read | tables(pipeline)


def tables(pipeline: Pipeline) -> Evidence:
    """Every table, and the summary's figures."""
    results = pipeline.root / "results" / "demo"
    if not (results / "report.html").is_file():
        raise WrongError(f"no report in {results}")
    found: Evidence = {
        file.name: file.read_text("utf-8")
        for file in sorted(results.glob("tables/*.csv"))
        if not file.name.startswith("checklist")  # these name the root folder
    }
    summary = json.loads((results / "summary.json").read_text("utf-8"))
    return found | {"variants": summary["variants"], "complete": summary["complete"]}


def leftovers(pipeline: Pipeline) -> Iterator[str]:
    """Processes and temporary files that should be gone once a step has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while (alive := marked_processes(pipeline)) and time.monotonic() < deadline:
        time.sleep(0.2)
    yield from (f"process {pid}" for pid in alive)
    for folder in ("data", "runs", "results"):
        for path in (pipeline.root / folder).rglob(".*"):
            if "tmp" in path.name:
                yield f"file {path}"


def marked_processes(pipeline: Pipeline) -> list[int]:
    """Processes that descend from this script's steps."""
    mark = f"{MARK}={pipeline.environment[MARK]}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
                ended = "State:\tZ" in (folder / "status").read_text()
            except OSError:  # gone, or another user's
                continue
            if mark in variables and not ended:
                found.append(int(folder.name))
    return found


def compare(stage: Stage, pipeline: Pipeline, expected: Evidence) -> None:
    """Compare what a step has ended with.

    Raises:
        WrongError: naming what differs, or is left over.
    """
    found = stage.evidence(pipeline)
    names = sorted(found.keys() | expected.keys())
    wrong = [f"{name} differs" for name in names if found.get(name) != expected.get(name)]
    wrong += leftovers(pipeline)
    if wrong:
        raise WrongError(f"{stage.name}: after {stage.kills} kills: {', '.join(wrong)}")


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
            if not pipeline.killed(arguments, stage.seconds, draw):
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
                stage.kills += pipeline.killed(arguments, 6.0, draw)
            else:
                pipeline.through(arguments)
                time.sleep(draw.uniform(0, 10))
                if victims := [pid for pid in marked_processes(pipeline) if is_python(pid)]:
                    stage.kills += kill(draw.choice(victims))
        for _ in range(5):
            pipeline.through(arguments)
            wait_for_queue(pipeline)
            if (pipeline.root / "results/demo/report.html").is_file() and is_complete(pipeline):
                break
        stage.ends += 1
        compare(stage, pipeline, expected)
        stage.reset(pipeline)
    return stage


def is_complete(pipeline: Pipeline) -> bool:
    """Whether the last collection had every run."""
    summary = json.loads((pipeline.root / "results/demo/summary.json").read_text("utf-8"))
    return bool(summary["complete"])


def is_python(pid: int) -> bool:
    """Whether a process is one of ours, not SLURM's."""
    try:
        return b"python" in (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")[0]
    except OSError:
        return False


def kill(pid: int) -> bool:
    """Kill a process; whether it was still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def wait_for_queue(pipeline: Pipeline) -> None:
    """Until no job of this user waits or runs.

    Raises:
        WrongError: where that takes far too long.
    """
    deadline = time.monotonic() + LIMIT_S
    command = ["squeue", "--me", "--noheader"]
    while subprocess.run(
        command, env=pipeline.environment, capture_output=True, check=True
    ).stdout.strip():
        if time.monotonic() > deadline:
            raise WrongError(f"jobs are in the queue after {LIMIT_S:.0f} s")
        time.sleep(1)


def main() -> int:
    """Print the counts; 1 where something was lost or wrong."""
    parser = new_parser(__doc__ or "", "Takes about half an hour on two cores.")
    parser.add_argument("--kills", type=int, default=sum(SHARES.values()), help="default 200")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (default 0)")
    parser.add_argument("--slurm", action="store_true", help="also on a local SLURM cluster")
    options = parser.parse_args()
    share = (5 if options.quick else options.kills) / sum(SHARES.values())
    draw = random.Random(options.seed)
    rows: list[Row] = []
    wrong = ""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            for stage in everything(folder, share, draw, options.slurm):
                rows.append(row_of(stage))
        except WrongError as error:
            wrong = str(error)
            print(f"error: {wrong}", file=sys.stderr)
    total = sum(int(row.ours.split()[0]) for row in rows)
    rows.append(Row("in all", f"{total} kills", mark="nothing lost or wrong", met=not wrong))
    return publish("kills", rows, quick=False, packages=("torch",), notes=[wrong] if wrong else [])


def everything(folder: Path, share: float, draw: random.Random, slurm: bool) -> Iterator[Stage]:
    """Every stage, tormented."""
    environment = {**os.environ, MARK: uuid.uuid4().hex, "PYTHONPATH": str(REPOSITORY)}
    heads = folder / "heads"
    plain = Pipeline(folder / "untouched", heads, environment)
    with said_on_stderr("12 synthetic heads, and the untouched pipeline"):
        numbers = ("--lgg", "6", "--hgg", "6", "--healthy", "0", "--spacing", "4")
        plain.through(["-m", "preprocessing.phantom", "--out", str(heads), *numbers])
        took = {"preprocessing": plain.through(plain.preprocessing())}
        took["submission"] = plain.through(plain.submission())
        expected = {stage.name: stage.evidence(plain) for stage in stages()}
        without_first_run(plain)
        took["training"] = plain.through(plain.training())
        took["collection"] = plain.through(plain.collection())
    target = Pipeline(folder / "killed", heads, environment)
    for stage in stages():
        stage.seconds = took[stage.name]
        started = time.perf_counter()
        with said_on_stderr(f"{stage.name}, which takes {stage.seconds:.0f} s"):
            if stage.name == "training":
                target.through(target.submission())
            torment(stage, target, expected[stage.name], round(SHARES[stage.name] * share), draw)
        stage.seconds = time.perf_counter() - started
        yield stage
    if slurm:
        with DevCluster(folder / "slurm", accounting=False) as cluster:
            environment = {**environment, **cluster.environment()}
            on_cluster = Pipeline(folder / "on_slurm", heads, environment, "cluster=slurm")
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
