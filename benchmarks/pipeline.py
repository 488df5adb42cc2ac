"""The whole pipeline on a small synthetic cohort, for scripts that disturb it while it works.

A disturbed pipeline must end with the files of an untouched one: voxel hashes, predictions to the
last digit, every table; and no process or temporary file may be left over. Training is in fp32 on
one thread, where equal means equal bit for bit.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stfmri.study.shards import Volumes, read_index, voxel_sha256

REPOSITORY = Path(__file__).resolve().parent.parent
PATIENCE_S = 10.0  # for orphans to end
LIMIT_S = 1200.0  # for a step that is let through
MARK = "STFMRI_BENCHMARK"  # a variable in the environment of every process of a pipeline
Evidence = dict[str, object]  # by what it is
SETTINGS = (
    *("data.classes=[LGG,HGG]", "preprocessing.spacing_mm=8", "split.n=2", "sweep.models=[sfcn]"),
    *("sweep.baselines=[shape]", "train.epochs=4", "train.steps=0", "train.threads=1"),
    *("train.precision=fp32", "train.learning_rate=1e-3", "checkpoint.every_s=0"),
)


class WrongError(Exception):
    """Something was lost, left over or is not as it would be in an untouched pipeline."""


@dataclass
class Pipeline:
    """The steps of one root folder, as command lines.

    Attributes:
        more: settings that take the place of SETTINGS, or join them.
        cluster: where runs go, and what their jobs ask for.
    """

    root: Path
    heads: Path
    environment: dict[str, str]
    more: tuple[str, ...] = ()
    cluster: tuple[str, ...] = ("cluster=local",)

    @property
    def settings(self) -> list[str]:
        """Arguments that all steps share."""
        words = merged(*SETTINGS, *self.more)
        return ["--sweep", "demo", "--root", str(self.root), *words, f"data.folder={self.heads}"]

    def make_heads(self) -> None:
        """Twelve synthetic heads of two classes."""
        numbers = ("--lgg", "6", "--hgg", "6", "--healthy", "0", "--spacing", "4")
        self.through(["-m", "preprocessing.phantom", "--out", str(self.heads), *numbers])

    def preprocessing(self) -> list[str]:
        """Scans to shards."""
        return ["-m", "preprocessing", "--jobs", "2", *self.settings]

    def submission(self, *more: str) -> list[str]:
        """All runs and the report; `more` asks for other things of the cluster."""
        return ["launch/submit.py", *self.settings, *merged(*self.cluster, *more)]

    def training(self) -> list[str]:
        """The first run, by hand."""
        return ["-m", "stfmri.train", "--config", str(self.runs[0] / "config.yaml")]

    def collection(self) -> list[str]:
        """Predictions to tables, figures and report."""
        return ["-m", "stfmri.collect", "--sweep", "demo", "--root", str(self.root)]

    def status(self) -> list[str]:
        """How far every run is."""
        return ["launch/status.py", "--sweep", "demo", "--root", str(self.root), "--all"]

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

    def ended(self, arguments: list[str]) -> tuple[int, str]:
        """Let a step end; its exit status, and what it printed.

        Raises:
            WrongError: where it takes far too long.
        """
        return end_of(self.start(arguments), arguments)

    def through(self, arguments: list[str]) -> float:
        """Let a step end well; the seconds it took.

        Raises:
            WrongError: where it fails, or takes far too long.
        """
        started = time.perf_counter()
        status, said = self.ended(arguments)
        if status:
            raise WrongError(f"{arguments[:2]} ended with {status}:\n{said[-2000:]}")
        return time.perf_counter() - started


def merged(*settings: str) -> list[str]:
    """Settings of which a later one takes the place of an earlier one."""
    return [f"{key}={value}" for key, value in dict(s.split("=", 1) for s in settings).items()]


def end_of(process: subprocess.Popen[str], arguments: list[str]) -> tuple[int, str]:
    """Wait for a step; its exit status, and what it printed.

    Raises:
        WrongError: where it takes far too long.
    """
    try:
        said, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        raise WrongError(f"{arguments[:2]} did not end within {LIMIT_S:.0f} s") from error
    return process.returncode, said


def marked_environment() -> dict[str, str]:
    """The environment of every step, by which its processes are found."""
    return {**os.environ, MARK: uuid.uuid4().hex, "PYTHONPATH": str(REPOSITORY)}


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
    """Processes that descend from the pipeline's steps."""
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


def differences(pipeline: Pipeline, found: Evidence, expected: Evidence) -> list[str]:
    """What is not as in the untouched pipeline, or is left over."""
    names = sorted(found.keys() | expected.keys())
    wrong = [f"{name} differs" for name in names if found.get(name) != expected.get(name)]
    return [*wrong, *(f"{left} is left over" for left in leftovers(pipeline))]


def is_complete(pipeline: Pipeline) -> bool:
    """Whether the last collection had every run."""
    summary = pipeline.root / "results/demo/summary.json"
    return summary.is_file() and bool(json.loads(summary.read_text("utf-8"))["complete"])


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
    """Until no job of this user waits or runs; requeued jobs need not wait for their two minutes.

    Raises:
        WrongError: where that takes far too long.
    """
    deadline = time.monotonic() + LIMIT_S
    while queue := asked(pipeline, "squeue", "--me", "--noheader"):
        if time.monotonic() > deadline:
            raise WrongError(f"jobs are in the queue after {LIMIT_S:.0f} s: {queue}")
        release(pipeline)
        time.sleep(1.5)


def release(pipeline: Pipeline) -> None:
    """Let requeued jobs start, which SLURM holds for two minutes."""
    for line in asked(pipeline, "squeue", "--me", "--array", "--noheader", "--format=%i %r"):
        job, _, reason = line.partition(" ")
        if reason == "BeginTime":
            # Within the second of its requeue a job cannot start; the next call tries again.
            command = ["scontrol", "update", f"JobId={job}", "StartTime=now"]
            subprocess.run(command, env=pipeline.environment, capture_output=True, check=False)


def asked(pipeline: Pipeline, *command: str) -> list[str]:
    """Lines that a SLURM client prints."""
    answer = subprocess.run(
        command, env=pipeline.environment, capture_output=True, text=True, check=True
    )
    return answer.stdout.splitlines()
