"""Part B, the whole step: its arithmetic against a CPU's, and what it asks of host and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from unittest import mock

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from cohort import volume
from common import synchronise
from torch import Tensor, nn
from training_steps import CLASSES, CONFIG, MODELS, WEIGHTS, UsualStep, let_go

from gpu.record import Part, Report
from stfmri.learning import device as devices
from stfmri.learning import forms, fused_norm, models
from stfmri.learning.convolutions import cuda
from stfmri.learning.data import Batch
from stfmri.learning.graph import FIRST_STEPS
from stfmri.learning.learner import Learner
from stfmri.learning.loss import weighted_loss
from stfmri.study.config.training import AugmentConfig, ModelConfig

SHAPE, HALF, TOY = (78, 120, 120), (39, 60, 60), (8, 24, 24)
# Relative errors of a step's whole gradient that fp16 operands and results with sums in fp32 have,
# by emulation on a CPU at half size; twice as much is asked for.
FP16_GRADIENT = {"r3d_18": 6.0e-2, "mc3_18": 2.0e-2, "r2plus1d_18": 0.39}
# A rectifier whose input is near zero may or may not pass its gradient on: on a CPU, too, fp32 in
# channels-last layout turns r3d_18's gradient by 1.7e-2 from fp64's, where 9 of the 40,960 last
# rectifiers change their mind, and by 3.2e-4 in the contiguous layout, where none does.
FP32_GRADIENT = 2e-2
FP32_LOGITS, FP16_LOGITS = 1e-4, 5e-3
MEMORY = 8e9  # bytes: the paper's card
STEPS = 30
# What the step is measured in, to see which forms pay: how, and whether it needs Triton.
FORMS: dict[str, tuple[Callable[[nn.Module, torch.device, bool], object], bool]] = {
    "as torchvision has it": (lambda network, _device, _captured: network, False),
    "own convolutions": (lambda network, _device, _captured: cuda.reform(network), False),
    "own convolutions and norms": (forms.suit, True),
}


@dataclass(frozen=True)
class Pass:
    """Logits (B, K) and the whole gradient, float64 on the host."""

    logits: Tensor
    gradient: Tensor

    def errors_of(self, other: Pass) -> tuple[float, float]:
        """Relative errors of another's logits and gradient."""
        return _error(other.logits, self.logits), _error(other.gradient, self.gradient)


def run(report: Report) -> None:
    """Check each of the paper's networks."""
    devices.set_arithmetic(deterministic=False)  # as a run does
    for name in MODELS[:1] if report.quick else MODELS:
        arithmetic(report, name)
        if report.device.type == "cuda":
            whole_steps(report, name)
            repeated(report, name)


def arithmetic(report: Report, name: str) -> None:
    """A step's logits and gradient in fp32 and fp16, against plain fp32 on the CPU."""
    shape = TOY if report.quick else HALF
    reference = plain_pass(name, shape)
    for precision in ("fp32", "fp16") if report.device.type == "cuda" else ("fp32",):
        learner = learner_of(name, report.device, precision, captured=True)  # for its forms
        logits, gradient = reference.errors_of(own_pass(learner, shape))
        half = precision == "fp16"
        report.add(f"{name} {precision} logits", logits, FP16_LOGITS if half else FP32_LOGITS)
        limit = 2 * FP16_GRADIENT[name] if half else FP32_GRADIENT
        report.add(f"{name} {precision} gradient", gradient, limit)
        let_go(learner.accelerator)


def whole_steps(report: Report, name: str) -> None:
    """A step at full size in every form, beside the usual script's. No form waits for the GPU."""
    shape = TOY if report.quick else SHAPE
    batch = batch_of(shape, report.device)
    theirs = usual_seconds(name, batch)
    report.add(f"{name} usual script, ms a step", theirs * 1e3)
    fusable = not fused_norm.why_not(report.device)
    for form, (reform, fused) in FORMS.items():
        if fused and not fusable:
            report.say(f"{form}: {fused_norm.why_not(report.device)}")
            continue
        for captured in (False, True)[fused:]:
            with mock.patch.object(forms, "suit", reform):
                learner = learner_of(name, report.device, "fp16", captured=captured)
            step = partial(learner.step, batch)
            for _ in range(FIRST_STEPS + 2):
                step()
            torch.cuda.empty_cache()
            devices.forget_peak_memory(report.device)
            torch.cuda.set_sync_debug_mode("error")
            host, whole = step_seconds(step, report.device)
            label = f"{name} {form}, {'captured' if captured else 'eager'}"
            report.add(f"{label}, host ms a step", host * 1e3)
            report.add(f"{label}, ms a step", whole * 1e3)
            report.add(f"{label}, times the usual script", theirs / whole)
            peak = torch.cuda.max_memory_reserved() / 1e9
            report.add(f"{label}, GB reserved", peak, MEMORY / 1e9)
            let_go(learner.accelerator)


def usual_seconds(name: str, batch: Batch) -> float:
    """Seconds that the usual script's step takes."""
    step = UsualStep(name, batch.label_B.device)
    for _ in range(FIRST_STEPS + 2):
        step(batch.volume_BCDHW, batch.label_B)
    once = partial(step, batch.volume_BCDHW, batch.label_B)
    return step_seconds(once, batch.label_B.device)[1]


def repeated(report: Report, name: str) -> None:
    """Two captured trainings are equal bit for bit; an eager one differs by rounding at most."""
    shape = TOY if report.quick else HALF
    devices.set_arithmetic(deterministic=True)
    ways = {"captured": True, "again": True, "eager": False}
    weights = {way: trained_weights(name, report, shape, how) for way, how in ways.items()}
    torch.use_deterministic_algorithms(False)
    devices.set_arithmetic(deterministic=False)
    start = _flat(models.build(ModelConfig(name=name, dropout=0.3), CLASSES, 0))
    twins = float((weights["captured"] - weights["again"]).abs().max())
    report.add(f"{name} captured twice, largest difference of a weight", twins, 0.0)
    moved = weights["captured"] - start
    report.add(
        f"{name} captured against eager, difference over distance moved",
        _error(weights["eager"] - start, moved),
        FP16_GRADIENT[name],
    )


def trained_weights(
    name: str, report: Report, shape: tuple[int, ...], captured: bool, steps: int = 10
) -> Tensor:
    """All parameters after a few steps with dropout and augmentation, float64 on the host."""
    suit = forms.suit

    def same(network: nn.Module, device: torch.device, _captured: bool) -> None:
        suit(network, device, captured=True)

    with mock.patch.object(forms, "suit", same):  # whether captured or not
        learner = learner_of(name, report.device, "fp16", captured=captured, plain=False)
    batches = [batch_of(shape, report.device, number) for number in range(steps)]
    learner.learn(batches)
    weights = _flat(learner.bare_network)
    let_go(learner.accelerator)
    return weights


def learner_of(
    name: str,
    device: torch.device,
    precision: str,
    captured: bool = False,
    plain: bool = True,
) -> Learner:
    """A learner as a run has it.

    Args:
        plain: without dropout and augmentation.
    """
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        mixed_precision=devices.ACCELERATE_NAMES[precision], cpu=device.type == "cpu"
    )
    model = ModelConfig(name=name, dropout=0.0 if plain else 0.3)
    config = replace(
        CONFIG,
        model=model,
        augment=AugmentConfig(kind="none" if plain else "light"),
        train=replace(CONFIG.train, precision=precision, cuda_graph=captured),
    )
    network = models.build(model, CLASSES, 0)
    learner = Learner(network, config, torch.tensor(WEIGHTS), accelerator, batches=1)
    learner.network.train()
    return learner


def batch_of(shape: tuple[int, ...], device: torch.device, number: int = 0) -> Batch:
    """One volume on the device."""
    label = number % CLASSES
    values = torch.from_numpy(volume(number, shape, label / (CLASSES - 1))[None])
    return Batch(values.to(device), torch.tensor([label], device=device), [number])


def plain_pass(name: str, shape: tuple[int, ...]) -> Pass:
    """The step of the plain network on the CPU, in fp32."""
    torch.set_num_threads(devices.set_threads(0))
    network = models.build(ModelConfig(name=name, dropout=0.0), CLASSES, 0).train()
    batch = batch_of(shape, torch.device("cpu"))
    logits = network(batch.volume_BCDHW.float())
    weighted_loss(logits, batch.label_B, torch.tensor(WEIGHTS)).backward()
    return Pass(logits.detach().double(), _gradient(network, 1.0))


def own_pass(learner: Learner, shape: tuple[int, ...]) -> Pass:
    """The step of a learner, its gradient without the loss scale."""
    batch = batch_of(shape, learner.device)
    logits = learner.network(learner.network_input(batch.volume_BCDHW))
    loss = weighted_loss(logits.float(), batch.label_B, learner.weight_K)
    learner.accelerator.backward(loss)
    scaler = learner.accelerator.scaler
    scale = scaler.get_scale() if scaler is not None else 1.0
    return Pass(logits.detach().double().cpu(), _gradient(learner.bare_network, scale))


def step_seconds(step: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Least seconds that a step keeps the host, and mean seconds that it takes in a long row."""
    host = []
    synchronise(device)
    begun = time.perf_counter()
    for _ in range(STEPS):
        started = time.perf_counter()
        step()
        host.append(time.perf_counter() - started)
    torch.cuda.set_sync_debug_mode("default")
    synchronise(device)
    return min(host), (time.perf_counter() - begun) / STEPS


def _gradient(network: nn.Module, scale: float) -> Tensor:
    parts = [
        item.grad.detach().double().cpu().flatten()
        for item in network.parameters()
        if item.grad is not None
    ]
    return torch.cat(parts) / scale


def _flat(network: nn.Module) -> Tensor:
    parts = [item.detach().double().cpu().flatten() for item in network.parameters()]
    return torch.cat(parts)


def _error(found: Tensor, right: Tensor) -> float:
    """‖found - right‖ / ‖right‖; NaN stays NaN."""
    return float(np.float64((found - right).norm() / right.norm()))


PART_B = Part("B", "the whole step: arithmetic, graph, memory", run)
