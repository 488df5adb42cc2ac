"""A network and everything that changes while it learns. Knows no files, folds or subjects."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from stfmri.learning import augment, device, evaluate, forms, gpu_lock, models, optimise, stages
from stfmri.learning.data import Batch, Part
from stfmri.learning.graph import CapturedStep
from stfmri.learning.loss import weighted_loss
from stfmri.learning.seeds import Use, mix
from stfmri.study import lengths
from stfmri.study.config import Config

# Gradients of r2plus1d_18 from scratch overflow from 2¹⁷ on; to grow so far costs a step each time.
LARGEST_SCALE = 2.0**16


class Learner:
    """Network, optimiser, averaged weights and loss scaler of one run.

    Nothing in a step waits for the device. What is drawn at random (augmentation, dropout) depends
    on the run's seed, the epoch and the sample alone, so an epoch that is begun again repeats
    itself.

    Attributes:
        network: as Accelerate prepared it; `bare_network` is without its wrappers.
        epoch: finished so far.
        epochs: in all.
    """

    def __init__(
        self,
        network: nn.Module,
        config: Config,
        weight_K: Tensor,
        accelerator: Accelerator,
        batches: int,
    ) -> None:
        """Move the network to the device and prepare it for training.

        Args:
            weight_K: of the classes in the loss, float (K,).
            batches: of an epoch, on this process.
        """
        self.config, self.accelerator = config, accelerator
        self.device = accelerator.device
        alone = self.device.type == "cuda" and accelerator.num_processes == 1
        captured = alone and config.train.cuda_graph and config.train.accumulate == 1
        forms.suit(network, self.device, captured)
        # Known to torch, but not in its type declarations for modules.
        network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        network = network.to(self.device)
        self.weight_K = weight_K.to(self.device)
        self.frozen, scales = stages.fine_tuned(network, config)
        self.mean = optimise.mean_weights(network, config.train)
        self.best: dict[str, Tensor] | None = None
        self.network, self.optimizer = accelerator.prepare(
            network, optimise.optimizer(network, config.train, scales, capturable=captured)
        )
        if captured:
            optimise.keep_rates_on(self.device, self.optimizer.param_groups)
        self._captured = (
            CapturedStep(partial(self._compute, group=1, moves=True), self.device)
            if captured
            else None
        )
        self._one = torch.ones((), device=self.device)
        self._has_stepped = False
        self.batches, self.epochs = batches, lengths.epochs_of(config.train, batches)
        self.epoch = self._batch = 0

    @property
    def bare_network(self) -> nn.Module:
        """The network itself."""
        return self.accelerator.unwrap_model(self.network)

    @property
    def is_captured(self) -> bool:
        """Whether its steps are launched as CUDA graphs."""
        return self._captured is not None

    @property
    def seed(self) -> tuple[int, int]:
        """The seed of everything that is drawn in this run."""
        return self.config.train.seed, self.config.split.fold

    def learn(self, batches: Iterable[Batch]) -> Tensor:
        """Learn from one epoch's batches.

        Returns:
            The sum of the loss over this process's samples, still on the device.
        """
        rank = self.accelerator.process_index
        torch.manual_seed(mix(Use.DROPOUT, *self.seed, self.epoch, rank))
        self.network.train()
        stages.keep_frozen(self.frozen)
        self._batch = 0
        loss_sum = torch.zeros((), device=self.device)
        for batch in batches:
            loss_sum += self.step(batch) * len(batch.samples)
        self.epoch += 1
        train = self.config.train
        if self.mean is not None and optimise.is_averaged(train, self.epoch, self.epochs):
            self.mean.update_parameters(self.bare_network)
        return loss_sum

    def step(self, batch: Batch) -> Tensor:
        """Learn from a batch; the weights move after the last one of its group.

        Returns:
            The batch's mean loss, detached, still on the device; the next step may overwrite it.
        """
        train = self.config.train
        # The last group of an epoch may be smaller than the others.
        first = self._batch - self._batch % train.accumulate
        group = min(train.accumulate, self.batches - first)
        moves = self._batch + 1 == first + group
        if moves:
            rate = optimise.learning_rate(
                train, self.epoch * self.batches + self._batch, self.epochs * self.batches
            )
            optimise.set_rate(self.optimizer.param_groups, rate)
        self._batch = (self._batch + 1) % self.batches
        input_BCTHW = self._training_input(batch)
        # Runs that share a GPU would spoil each other's choice of cuDNN's algorithms.
        with contextlib.nullcontext() if self._has_stepped else self._turn():
            self._has_stepped = True
            if self._captured is not None:
                return self._captured(input_BCTHW, batch.label_B)
            return self._compute(input_BCTHW, batch.label_B, group, moves)

    def _turn(self) -> contextlib.AbstractContextManager[None]:
        """Processes of one run wait for each other in a step, and so for no other run."""
        if self.accelerator.num_processes > 1:
            return contextlib.nullcontext()
        return gpu_lock.alone_on(self.device)

    def _compute(self, input_BCTHW: Tensor, label_B: Tensor, group: int, moves: bool) -> Tensor:
        """Gradients of one batch of a group and, after the last one, new weights."""
        with contextlib.nullcontext() if moves else self.accelerator.no_sync(self.network):
            logits_BK = self.network(input_BCTHW)
            loss = weighted_loss(
                logits_BK.float(), label_B, self.weight_K, self.config.train.label_smoothing
            )
            self.accelerator.backward(loss / group)
        if moves:
            self.optimizer.step()
            if (scaler := self.accelerator.scaler) is not None:
                scaler.update(scaler.scale(self._one).clamp(max=LARGEST_SCALE))
            self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    @property
    def steps_in_epoch(self) -> int:
        """How often the weights are to move in an epoch."""
        return lengths.steps_of(self.config.train, self.batches)

    def steps_taken(self) -> int:
        """How often the weights have moved; waits for the device.

        Where gradients in fp16 are not finite, the scaler leaves a step out.
        """
        states = self.optimizer.state.values()
        return int(next((state["step"] for state in states if "step" in state), 0))

    def predict(self, part: Part, where: Path) -> NDArray[np.float64]:
        """Class probabilities (N, K) of a part's subjects, in eval mode.

        Args:
            where: the run's folder, for an error's text.
        """
        return evaluate.class_probabilities(
            self.network,
            part,
            self.network_input,
            batch_size=self.config.train.eval_batch_size,
            where=where,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
        )

    def keep_best(self) -> None:
        """Remember the weights as they are, as the best so far."""
        state = self.bare_network.state_dict()
        self.best = {name: value.detach().clone() for name, value in state.items()}

    def settle(self, batches: Iterable[Batch]) -> None:
        """Go over to the weights that are tested: the best ones, the averaged ones or the last.

        Args:
            batches: training volumes without augmentation, from which batch norm is recomputed
                where `train.batch_norm` asks for that.
        """
        if self.best is not None:
            self.bare_network.load_state_dict(self.best)
        if self.mean is not None:
            self.bare_network.load_state_dict(self.mean.module.state_dict())
        if self.config.train.batch_norm == "recomputed":
            # Not through DDP, which would hand one process's statistics to all.
            inputs = (self.network_input(batch.volume_BCDHW) for batch in batches)
            evaluate.recompute_batch_norm(self.bare_network, inputs, self.frozen)

    def network_input(self, volume_BCDHW: Tensor) -> Tensor:
        """Stored volumes, of any floating type, as the network takes them: (B, C, T, H, W)."""
        volume_BCTHW = models.to_slices_first(volume_BCDHW.float(), self.config.model.slice_axis)
        return device.to_layout(volume_BCTHW)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: tensors and plain values."""
        scaler = self.accelerator.scaler
        return {
            "epoch": self.epoch,
            "network": self.bare_network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "mean": self.mean.state_dict() if self.mean is not None else None,
            "best": self.best,
            "scaler": scaler.state_dict() if scaler is not None else None,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.bare_network.load_state_dict(state["network"])
        optimise.load_state(self.optimizer, state["optimizer"])
        if self.mean is not None:
            self.mean.load_state_dict(state["mean"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.best = state["best"]
        self.epoch = int(state["epoch"])

    def _training_input(self, batch: Batch) -> Tensor:
        volume_BCDHW = augment.augmented(
            batch.volume_BCDHW, self.config.augment, (*self.seed, self.epoch), batch.samples
        )
        return self.network_input(volume_BCDHW)
