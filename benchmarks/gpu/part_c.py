"""Part C, whole runs: killed, repeated, side by side, streamed, on CPU and GPU in turn.

Each run is `python -m stfmri.train` in a process of its own, as a job has it. All of them train the
same network on the same volumes with deterministic sums, so that they must end with the same
probabilities, to the last digit.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState
from cohort import TOY, config_for, write_cache
from numpy.typing import NDArray
from training_steps import CLASSES, OurStep, accelerator_for, let_go

from gpu.record import Part, Report
from stfmri.learning.graph import FIRST_STEPS
from stfmri.learning.learner import LARGEST_SCALE
from stfmri.study import config as configuration
from stfmri.study import predictions
from stfmri.study.config import Config
from stfmri.study.config.data import PreprocessingConfig
from stfmri.study.overrides import replaced

ROOT = Path(__file__).resolve().parents[2]
GRID = PreprocessingConfig(spacing_mm=6, field_mm=(240, 240, 156))  # 40 × 40 × 26 voxels
SUBJECTS, EPOCHS, HALF_WAY = 24, 6, 2
NETWORK = "mc3_18"  # the smallest files of weights
PATIENCE_S = 240.0  # for processes side by side, of which two may train on the CPU
# Of probabilities after six epochs, where sums are in another order from the third on.
OTHER_DEVICE = 0.05


@dataclass(frozen=True)
class Runs:
    """Runs of one study, that differ in little.

    Attributes:
        base: what they have in common.
        root: their folder's parent.
    """

    base: Config
    root: Path

    def file(self, name: str, **values: Any) -> Path:
        """The configuration of a run; written for the first time."""
        file = self.root / "runs" / name / "fold0" / "config.yaml"
        given = {key.replace("__", "."): value for key, value in values.items()}
        configuration.save(replaced(self.base, given), file)
        return file

    def probabilities(self, name: str) -> NDArray[np.float64]:
        """What a run predicted: (subjects, classes)."""
        table = predictions.read(self.root / "runs" / name / "fold0" / predictions.FILE_NAME)
        return np.array([row.probabilities for row in table.rows])

    def apart(self, name: str, other: str) -> float:
        """The largest difference between the probabilities of two runs."""
        return float(np.abs(self.probabilities(name) - self.probabilities(other)).max())


def run(report: Report) -> None:
    """Check runs as jobs have them, then what an overflow does."""
    with tempfile.TemporaryDirectory() as name:
        runs = prepared(Path(name), report)
        on_gpu = report.device.type == "cuda"
        alone(runs, report, on_gpu)
        beside_others(runs, report, on_gpu)
        went_on(runs, report, on_gpu)
        if torch.cuda.device_count() > 1:
            two_ranks(runs, report)
    if on_gpu:
        overflow(report)


def prepared(root: Path, report: Report) -> Runs:
    """A cohort of random volumes and what its runs have in common."""
    base = replaced(
        config_for(root, toy=report.quick),
        {
            "model.name": NETWORK,
            "train.epochs": EPOCHS,
            "train.steps": 0,
            "train.learning_rate": 1e-4,
            "train.deterministic": True,
            "train.precision": "fp16" if report.device.type == "cuda" else "fp32",
            "checkpoint.every_s": 0,
            # Three runs at a time, whose threads would get in each other's way.
            "train.threads": max(1, len(os.sched_getaffinity(0)) // 4),
        },
    )
    grid = TOY if report.quick else GRID
    base = replaced(
        base,
        {"preprocessing.spacing_mm": grid.spacing_mm, "preprocessing.field_mm": grid.field_mm},
    )
    write_cache(base, 12 if report.quick else SUBJECTS)
    return Runs(base, root)


def alone(runs: Runs, report: Report, on_gpu: bool) -> None:
    """A run that has the device to itself; meanwhile on the CPU a whole run and half of one."""
    report.say("a run alone")
    started = [start(runs.file("alone"), on_gpu)]
    if on_gpu:
        started.append(start(runs.file("cpu", train__precision="fp32"), on_gpu=False))
        half = runs.file("cpu-half", train__precision="fp32", train__epochs=HALF_WAY)
        started.append(start(half, on_gpu=False))
    finish(started)
    lines = (runs.root / "runs/alone/fold0/metrics.csv").read_text().splitlines()
    report.add("epochs of a run alone", len(lines) - 1, EPOCHS, EPOCHS)


def beside_others(runs: Runs, report: Report, on_gpu: bool) -> None:
    """The same run beside two others, of which one is killed half-way."""
    report.say("three runs side by side, one to be killed")
    victim = start(runs.file("killed"), on_gpu, side_by_side=3)
    others = [
        start(runs.file("beside"), on_gpu, side_by_side=3),
        start(runs.file("seed", train__seed=1), on_gpu, side_by_side=3),
    ]
    half_way = victim.folder / "checkpoint" / f"epoch-{HALF_WAY:04d}"
    done = kill_when_there(victim, half_way)
    finish(others)
    report.add("the run to be killed was done before", int(done), 0)
    report.add("beside two others - alone, probability", runs.apart("beside", "alone"), 0.0)
    report.add("another seed - alone, probability", runs.apart("seed", "alone"), least=1e-9)


def went_on(runs: Runs, report: Report, on_gpu: bool) -> None:
    """The killed run resumed, a streamed one, and runs that change the device half-way."""
    report.say("the killed run resumed, a streamed run" + ", changes of the device" * on_gpu)
    started = [start(configuration_of(runs, "killed"), on_gpu)]
    streamed = runs.file("streamed", train__resident_share=0.0, train__workers=2)
    started.append(start(streamed, on_gpu))
    if on_gpu:
        half = runs.file("gpu-half", train__precision="fp32", train__epochs=HALF_WAY)
        finish([start(half, on_gpu=True)])
        for source, target, there in (("cpu-half", "to-gpu", True), ("gpu-half", "to-cpu", False)):
            file = runs.file(target, train__precision="fp32")
            shutil.copytree(
                runs.root / "runs" / source / "fold0" / "checkpoint", file.parent / "checkpoint"
            )
            started.append(start(file, there))
    finish(started)
    report.add("killed and resumed - alone, probability", runs.apart("killed", "alone"), 0.0)
    report.add("streamed - resident, probability", runs.apart("streamed", "alone"), 0.0)
    if on_gpu:
        for name in ("to-gpu", "to-cpu"):
            apart = runs.apart(name, "cpu")
            report.add(f"fp32, half-way {name} - on the CPU, probability", apart, OTHER_DEVICE)


def two_ranks(runs: Runs, report: Report) -> None:
    """A run on two GPUs."""
    report.say("a run on two GPUs")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    finish([start(runs.file("ranks"), on_gpu=True, launcher=launcher)])
    report.add("two ranks - alone, probability", runs.apart("ranks", "alone"))


def overflow(report: Report) -> None:
    """A captured step whose gradients overflow leaves the weights, and later steps go on."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = accelerator_for(report.device)
    step = OurStep(NETWORK, accelerator)
    learner, scaler = step.learner, accelerator.scaler
    volume = torch.rand((1, 1, 12, 20, 20), device=report.device).half()
    label = torch.tensor([CLASSES - 1], device=report.device)
    for _ in range(FIRST_STEPS + 2):
        step(volume, label)
    scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**60})
    taken, before = learner.steps_taken(), flat(learner)
    step(volume, label)
    moved = float((flat(learner) - before).abs().max())
    report.add("overflow: weights moved by", moved, 0.0)
    report.add("overflow: steps counted", learner.steps_taken() - taken, 0)
    report.add("overflow: scale afterwards", scaler.get_scale(), LARGEST_SCALE)
    for _ in range(10):
        step(volume, label)
    report.add("overflow: of 10 steps afterwards, taken", learner.steps_taken() - taken, least=6)
    finite = bool(flat(learner).isfinite().all())
    report.add("overflow: weights that are not finite", int(not finite), 0)
    let_go(accelerator)


def flat(learner: Any) -> torch.Tensor:
    """All parameters, on the host."""
    values = [item.detach().cpu().flatten() for item in learner.bare_network.parameters()]
    return torch.cat(values)


@dataclass(frozen=True)
class Started:
    """A training process."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder / "log.txt"


def configuration_of(runs: Runs, name: str) -> Path:
    """The configuration of a run that has been started before."""
    return runs.root / "runs" / name / "fold0" / "config.yaml"


def start(file: Path, on_gpu: bool, side_by_side: int = 1, launcher: Sequence[str] = ()) -> Started:
    """Start a run's process."""
    environment = dict(os.environ)
    if not on_gpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, *launcher, "-m", "stfmri.train", "--config", str(file)]
    command += ["--side-by-side", str(side_by_side)]
    with (file.parent / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    return Started(process, file.parent)


def finish(started: Sequence[Started]) -> None:
    """Wait for processes.

    Raises:
        RuntimeError: where one fails or hangs, with what it said last; the others are ended.
    """
    deadline = time.monotonic() + PATIENCE_S
    try:
        for one in started:
            try:
                failed = one.process.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                failed = True
            if failed:
                raise RuntimeError(f"{one.folder}: {one.log.read_text()[-3000:]}")
    finally:
        for one in started:
            one.process.kill()
            one.process.wait()


def kill_when_there(victim: Started, path: Path) -> bool:
    """Kill a process as soon as it has written a checkpoint.

    Returns:
        Whether it was done before.
    """
    while not path.exists() and victim.process.poll() is None:
        time.sleep(0.01)
    if victim.process.poll():
        finish([victim])
    victim.process.send_signal(signal.SIGKILL)
    victim.process.wait()
    return predictions.is_done(victim.folder)


PART_C = Part("C", "whole runs: killed, side by side, streamed, on another device", run)
