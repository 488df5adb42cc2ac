"""One step at a time, against the same arithmetic written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.optim.optimizer import register_optimizer_step_pre_hook

from stfmri.learning import models, optimise
from stfmri.learning.data import Batch
from stfmri.learning.learner import Learner
from stfmri.learning.loss import weighted_loss
from stfmri.study.config import Config
from stfmri.study.config.training import AugmentConfig, ModelConfig, TrainConfig

WEIGHT_K = torch.tensor([0.5, 0.7, 0.8])


@pytest.fixture(autouse=True)
def fresh_accelerator() -> None:
    """Accelerate keeps one state a process."""
    AcceleratorState._reset_state(reset_partial_state=True)


def batch_of(*labels: int) -> Batch:
    generator = torch.Generator().manual_seed(sum(labels) + 10 * len(labels))
    volume = torch.rand((len(labels), 1, 12, 12, 12), generator=generator).half()
    return Batch(volume, torch.tensor(labels), list(range(len(labels))))


def learner_for(train: TrainConfig, batches: int) -> Learner:
    config = Config(
        model=ModelConfig(name="mc3_18", dropout=0.0),
        augment=AugmentConfig(kind="none"),
        train=train,
    )
    network = models.build(config.model, 3, seed=1)
    return Learner(network, config, WEIGHT_K, Accelerator(cpu=True), batches)


def test_the_last_group_of_an_epoch_is_divided_by_its_own_size() -> None:
    """Three batches, two a step: the third one's gradient counts in full."""
    batches = [batch_of(0, 1), batch_of(1, 2), batch_of(2, 0)]
    train = TrainConfig(precision="fp32", accumulate=2, learning_rate=1e-12, weight_decay=0)
    learner = learner_for(train, len(batches))
    stepped: list[torch.Tensor] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        head = learner.bare_network.fc[1].weight
        stepped.append(head.grad.clone())

    hook = register_optimizer_step_pre_hook(note)
    try:
        learner.learn(batches)
    finally:
        hook.remove()
    # The steps are too small to move the weights, so each batch's gradient can be had alone.
    alone = []
    for batch in batches:
        network = models.build(learner.config.model, 3, seed=1).train()
        logits = network(batch.volume_BCDHW.float())
        weighted_loss(logits, batch.label_B, WEIGHT_K).backward()
        alone.append(network.fc[1].weight.grad)
    assert len(stepped) == 2
    torch.testing.assert_close(stepped[0], (alone[0] + alone[1]) / 2, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(stepped[1], alone[2], rtol=1e-3, atol=1e-5)


def test_a_state_goes_on_in_a_new_learner_as_if_it_had_never_left() -> None:
    train = TrainConfig(
        precision="fp32", epochs=3, optimizer="adamw", learning_rate=1e-3, warmup=0.3,
        schedule="cosine", batch_norm="recomputed", average_last=0.9, label_smoothing=0.1,
    )  # fmt: skip
    batches = [batch_of(0, 1), batch_of(2, 1)]
    whole = learner_for(train, 2)
    for _ in range(3):
        whole.learn(batches)
    first = learner_for(train, 2)
    first.learn(batches)
    second = learner_for(train, 2)
    second.load_state(first.state())
    assert second.epoch == 1
    for _ in range(2):
        second.learn(batches)
    for learner in (whole, second):
        learner.settle(batches)
    mine, theirs = whole.bare_network.state_dict(), second.bare_network.state_dict()
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=0, msg=name)


def test_label_smoothing_is_torchs_weighted_by_the_true_class() -> None:
    logits = torch.tensor([[0.2, 1.5, -0.3], [2.0, -1.0, 0.1]], dtype=torch.float64)
    label = torch.tensor([1, 0])
    target = F.one_hot(label, 3) * 0.9 + 0.1 / 3
    losses = -(target * logits.log_softmax(dim=1)).sum(dim=1)
    expected = (WEIGHT_K.double()[label] * losses).mean()
    torch.testing.assert_close(weighted_loss(logits, label, WEIGHT_K.double(), 0.1), expected)


def test_the_learning_rate_rises_then_falls_as_torchs_schedulers_do() -> None:
    train = TrainConfig(learning_rate=1e-3, schedule="cosine", warmup=0.25)
    steps, warm = 40, 10
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    rising = LinearLR(optimizer, start_factor=1 / warm, total_iters=warm - 1)
    falling = CosineAnnealingLR(optimizer, T_max=steps - warm)
    reference = SequentialLR(optimizer, [rising, falling], milestones=[warm])
    expected = []
    for _ in range(steps):
        expected += reference.get_last_lr()
        optimizer.step()
        reference.step()
    ours = [optimise.learning_rate(train, step, steps) for step in range(steps)]
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_adamw_decays_kernels_alone_and_adam_everything() -> None:
    network = models.build(ModelConfig(), 3, seed=0)
    train = TrainConfig(optimizer="adamw", weight_decay=0.05)
    decay = {
        parameter: group["weight_decay"]
        for group in optimise.optimizer(network, train).param_groups
        for parameter in group["params"]
    }
    for name, parameter in network.named_parameters():
        kernel = name.endswith("weight") and parameter.ndim > 1
        assert decay[parameter] == (0.05 if kernel else 0.0), name
    (group,) = optimise.optimizer(network, replace(train, optimizer="adam")).param_groups
    assert len(group["params"]) == len(list(network.parameters()))
    assert group["weight_decay"] == 0.05
