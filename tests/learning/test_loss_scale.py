"""fp16 and its loss scaler for real, on a CPU: PyTorch's scaler has one for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from stfmri.learning import device, forms, learner, models
from stfmri.learning.data import Batch
from stfmri.learning.learner import LARGEST_SCALE, Learner
from stfmri.learning.loss import weighted_loss
from stfmri.learning.training import Run
from stfmri.study import history
from stfmri.study.config import Config
from stfmri.study.config.training import AugmentConfig, ModelConfig, TrainConfig
from stfmri.study.errors import DivergedError
from tests.learning.small import small_network  # noqa: F401
from tests.tiny import tiny_cache, tiny_config

# Gradients of a batch with the last class overflow at the largest scale, those of others do not.
WEIGHT_K = torch.tensor([0.01, 0.02, 1e4])
TRAIN = TrainConfig(epochs=4, learning_rate=1e-3, warmup=0, schedule="constant")

pytestmark = pytest.mark.usefixtures("small_network")


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Convolutions as the network has them, in fp16."""
    monkeypatch.setattr(forms, "suit", lambda *_: None)
    monkeypatch.setattr(device, "resolve_precision", lambda *_: "fp16")
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def accelerator_with(scale: float = 2.0**10, growth_interval: int = 2000) -> Accelerator:
    """Accelerate in fp16 on a CPU, which it refuses of itself."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(mixed_precision="fp16", cpu=True)
    accelerator.state._mixed_precision = "fp16"
    accelerator.native_amp = True
    accelerator.scaler = torch.amp.GradScaler(
        "cpu", init_scale=scale, growth_interval=growth_interval
    )
    return accelerator


def learner_of(accelerator: Accelerator, train: TrainConfig = TRAIN, batches: int = 4) -> Learner:
    config = Config(
        model=ModelConfig(name="mc3_18", dropout=0.0),
        augment=AugmentConfig(kind="none"),
        train=train,
    )
    network = models.build(config.model, 3, seed=1)
    return Learner(network, config, WEIGHT_K, accelerator, batches)


def batch_of(*labels: int) -> Batch:
    generator = torch.Generator().manual_seed(sum(labels) + 10 * len(labels))
    volume = torch.rand((len(labels), 1, 12, 12, 12), generator=generator)
    return Batch(volume.half(), torch.tensor(labels), list(range(len(labels))))


BATCHES = [batch_of(0, 1), batch_of(1, 1), batch_of(1, 0), batch_of(0, 0)]
OVERFLOWING = batch_of(0, 2)


def weights(learner: Learner) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in learner.bare_network.parameters()]


def scale_of(learner: Learner) -> float:
    return float(learner.accelerator.scaler.get_scale())


def test_convolutions_compute_in_fp16() -> None:
    subject = learner_of(accelerator_with())
    seen = []
    convolution = subject.bare_network.stem[0]
    convolution.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    subject.step(BATCHES[0])
    assert seen == [torch.float16]


def test_the_scale_doubles_after_so_many_good_steps() -> None:
    subject = learner_of(accelerator_with(2.0**10, growth_interval=3))
    scales = []
    for number in range(7):
        subject.step(BATCHES[number % 4])
        scales.append(scale_of(subject))
    assert scales == [2**10, 2**10, 2**11, 2**11, 2**11, 2**12, 2**12]
    assert subject.steps_taken() == 7


def test_the_scale_grows_no_further_than_its_limit() -> None:
    subject = learner_of(accelerator_with(LARGEST_SCALE / 2, growth_interval=1))
    for number in range(4):
        subject.step(BATCHES[number])
        assert scale_of(subject) == LARGEST_SCALE


def test_a_step_with_an_overflow_leaves_the_weights_and_halves_the_scale() -> None:
    subject = learner_of(accelerator_with(LARGEST_SCALE))
    before = weights(subject)
    subject.step(OVERFLOWING)
    assert scale_of(subject) == LARGEST_SCALE / 2
    assert subject.steps_taken() == 0
    assert all(map(torch.equal, before, weights(subject)))
    subject.step(BATCHES[0])
    assert subject.steps_taken() == 1
    assert not any(map(torch.equal, before, weights(subject)))
    assert all(bool(one.isfinite().all()) for one in subject.bare_network.state_dict().values())


@pytest.mark.parametrize("place", [0, 1])
def test_an_overflow_in_any_batch_of_a_group_leaves_the_group_out(place: int) -> None:
    train = replace(TRAIN, accumulate=2)
    spoilt = [BATCHES[0]]
    spoilt.insert(place, OVERFLOWING)
    subject = learner_of(accelerator_with(LARGEST_SCALE), train)
    subject.learn([*spoilt, *BATCHES[:2]])
    assert subject.steps_taken() == 1
    alone = learner_of(accelerator_with(LARGEST_SCALE / 2), train)
    alone.learn(BATCHES[:2])
    for mine, other in zip(weights(subject), weights(alone), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-6)


def test_a_state_goes_on_as_if_it_had_never_left_between_two_growths_of_the_scale() -> None:
    whole = learner_of(accelerator_with(2.0**10, growth_interval=6))
    for _ in range(3):
        whole.learn(BATCHES)
    first = learner_of(accelerator_with(2.0**10, growth_interval=6))
    first.learn(BATCHES)
    state = first.state()
    second = learner_of(accelerator_with(2.0**4, growth_interval=6))
    second.load_state(state)
    for _ in range(2):
        second.learn(BATCHES)
    assert scale_of(whole) == scale_of(second) == 2**12
    assert all(map(torch.equal, weights(whole), weights(second)))


def run_with(root: Path, accelerator: Accelerator) -> Run:
    config = tiny_config(root, model=ModelConfig(name="mc3_18"), train=replace(TRAIN, threads=1))
    tiny_cache(config)
    folder = root / "runs" / "fp16"
    folder.mkdir(parents=True)
    return Run(config, folder, accelerator)


def test_metrics_count_the_steps_taken_and_those_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_with(tmp_path, accelerator_with(2.0**13))
    losses: list[float] = []

    def large_at_first(*arguments: object) -> torch.Tensor:
        losses.append(1e8 if len(losses) < 1 else 1)
        return losses[-1] * weighted_loss(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(learner, "weighted_loss", large_at_first)
    run.train_epoch()
    metrics = history.read(run.folder / "metrics.csv")
    batches = run.learner.batches
    assert metrics["steps"] == [batches - 1]
    assert metrics["skipped_steps"] == [1]
    assert metrics["loss_scale"] == [2**12]


def test_a_run_whose_steps_are_left_out_ends_and_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_with(tmp_path, accelerator_with())

    def far_too_large(*arguments: object) -> torch.Tensor:
        return 1e9 * weighted_loss(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(learner, "weighted_loss", far_too_large)
    run.train_epoch()  # in the first steps the scaler may look for a scale
    steps = 2 * run.learner.batches
    expected = f"{steps} of {steps} steps were left out .* train.precision=bf16 or fp32"
    with pytest.raises(DivergedError, match=expected):
        run.train_epoch()


def test_a_run_that_takes_no_step_at_all_does_not_end_as_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_with(tmp_path, accelerator_with())
    monkeypatch.setattr(learner, "weighted_loss", lambda *given: 1e9 * weighted_loss(*given))
    run.learner.epochs = 1
    with pytest.raises(DivergedError, match="until epoch 1"):
        run.train_epoch()
