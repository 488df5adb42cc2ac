"""Train one run, one variant on one fold, and predict its test subjects once, at the end.

A run killed at any moment and started again goes on from its last published epoch and ends with
the same predictions; on a GPU, with the same but for the order of its sums. Paper:
'Implementation and training', 'Weighted cross-entropy loss'.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import parse_flag_from_env
from numpy.typing import NDArray
from torch import Tensor, nn

from stfmri.learning import (
    augment,
    checkpoint,
    convolutions,
    device,
    evaluate,
    models,
    optimise,
    provenance,
    weights,
)
from stfmri.learning.data import Batch, Part, epoch_order, open_part
from stfmri.learning.loss import class_weights, weighted_loss
from stfmri.learning.seeds import mix
from stfmri.study import config as configuration
from stfmri.study import history, locks, predictions, splits
from stfmri.study.config import Config
from stfmri.study.errors import TrainingError
from stfmri.study.files import replacing, write_atomic
from stfmri.study.history import History, Stopwatch
from stfmri.study.shards import Volumes


def train_run(config_file: Path, side_by_side: int = 1) -> None:
    """Train the run whose frozen configuration is `config_file`, or go on with it.

    Args:
        side_by_side: how many runs share the device at once; each takes its part of the memory.

    Raises:
        RunHeldError: where another live process holds the run.
        UserError: where its cache, split or weights cannot be used.
        TrainingError: where the loss stops being a number.
    """
    config = configuration.load(config_file)
    run = config_file.resolve().parent
    accelerator = _accelerator(config)
    holds = locks.lock(run) if accelerator.is_main_process else contextlib.nullcontext()
    with holds:
        if predictions.is_done(run, config.split.fold):
            accelerator.print(f"{run} is done already")
        else:
            Training(config, run, accelerator, side_by_side).finish()
    # Several processes part before they exit: one that is gone first may abort the others.
    accelerator.end_training()


def _accelerator(config: Config) -> Accelerator:
    """Accelerate in the precision that this machine really has."""
    # As Accelerate will choose; it reads this variable only where it makes the state itself.
    # Without it, each of several processes on CPUs would take itself for the only one.
    several = "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE") or 1) > 1
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or (several and not torch.cuda.is_available())
    kind = PartialState(cpu=cpu).device.type
    precision = device.resolve_precision(config.train.precision, kind)
    return Accelerator(mixed_precision=device.ACCELERATE_NAMES[precision])


@dataclass
class Training:
    """A run at work: its data, its network, and how far it has come."""

    config: Config
    run: Path
    accelerator: Accelerator
    side_by_side: int = 1

    def __post_init__(self) -> None:
        started = time.perf_counter()
        config, accelerator = self.config, self.accelerator
        self.device = accelerator.device
        self.precision = device.resolve_precision(config.train.precision, self.device.type)
        self.threads = device.set_threads(config.train.threads)
        if self.device.type == "cpu":
            device.keep_freed_memory()
        torch.backends.cudnn.benchmark = True  # a run has few shapes, each met many times
        torch.backends.cudnn.allow_tf32 = False  # where a run says fp32 it is not rounded to less
        self.seed = (config.train.seed, config.split.fold)
        self.split = splits.ensure(config)
        self.fold = self.split.folds[config.split.fold]
        self.volumes = Volumes(config.cache, splits.rows_of(config))
        self.contrasts = self.volumes.contrasts(self.fold.train[0])
        self.train_part = self._open(self.fold.train, self._heavy())
        self.val_part = self._open(self.fold.val) if self.fold.val else None
        self.weight_K = class_weights(self._labels(self.fold.train), len(self.split.classes))
        self.weight_K = self.weight_K.to(self.device)
        self.weights_sha256: str | None = None
        network = self._build()
        optimizer = optimise.adam(network, config.train)
        self.mean = optimise.mean_weights(network, config.train)
        self.network, self.optimizer = accelerator.prepare(network, optimizer)
        self.history = History(self.run / history.FILE_NAME)
        self.epoch = self._resume()
        self.history.timings["startup_s"] = (
            self.history.timings.get("startup_s", 0.0) + time.perf_counter() - started
        )

    def finish(self) -> None:
        """Train the epochs that are left, predict the test subjects, write the run's files."""
        self._announce()
        published = time.monotonic()
        while self.epoch < self.config.train.epochs:
            self._train_epoch()
            last = self.epoch == self.config.train.epochs
            if last or time.monotonic() - published >= self.config.checkpoint.every_s:
                self._save_checkpoint()
                published = time.monotonic()
        started = time.perf_counter()
        if self.mean is not None:
            network = self.accelerator.unwrap_model(self.network)
            network.load_state_dict(self.mean.module.state_dict())
        if self.config.train.batch_norm == "recomputed":
            self._recompute_batch_norm()
        probabilities = self._predict(self._open(self.fold.test))
        self.history.timings["evaluate_s"] = time.perf_counter() - started
        if self.accelerator.is_main_process:
            self._write(probabilities)
        self.accelerator.wait_for_everyone()

    def _announce(self) -> None:
        fold, config = self.fold, self.config
        self.accelerator.print(
            f"{config.model.name} ({config.model.weights}), fold {config.split.fold}: "
            f"{len(fold.train)} training, {len(fold.val)} validation, {len(fold.test)} test "
            f"subjects; {self.precision} on {provenance.device_name(self.device)}, "
            f"{self.threads} threads; from epoch {self.epoch} of {config.train.epochs}",
            flush=True,
        )

    def _labels(self, subject_ids: Sequence[str]) -> list[int]:
        numbers = {name: number for number, name in enumerate(self.split.classes)}
        return [numbers[self.split.subjects[subject_id].label] for subject_id in subject_ids]

    def _open(self, subject_ids: Sequence[str], transform: Any = None) -> Part:
        return open_part(
            self.volumes,
            subject_ids,
            self._labels(subject_ids),
            self.device,
            resident_share=self.config.train.resident_share / self.side_by_side,
            workers=self.config.train.workers,
            transform=transform,
        )

    def _heavy(self) -> Any:
        if self.config.augment.kind != "heavy":
            return None
        # The one augmentation that needs TorchIO, which a training node may lack.
        from stfmri.learning.torchio_augment import HeavyAugmentation

        spacing_mm = self.config.preprocessing.spacing_mm
        return HeavyAugmentation(self.config.augment, spacing_mm, self.seed)

    def _build(self) -> nn.Module:
        model = self.config.model
        classes, channels = len(self.split.classes), len(self.contrasts)
        network = models.build(model, classes, mix(*self.seed), channels)
        if model.weights == "kinetics":
            file, self.weights_sha256 = weights.ensure(model, Path(self.config.root))
            models.load_kinetics(network, model, file)
        if self.device.type == "cpu":
            convolutions.reform(network)
        # Known to torch, but not in its type declarations for modules.
        in_layout: nn.Module = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        return in_layout.to(self.device)

    def _train_epoch(self) -> None:
        """One pass over the training part. Nothing waits for the device before its end."""
        config, accelerator = self.config.train, self.accelerator
        device.forget_peak_memory(self.device)
        started = time.perf_counter()
        seed = (*self.seed, self.epoch)
        torch.manual_seed(mix(*seed, accelerator.process_index))  # dropout
        order = epoch_order(
            len(self.fold.train),
            config.batch_size,
            seed,
            accelerator.process_index,
            accelerator.num_processes,
        )
        self.network.train()
        steps = config.epochs * len(order)
        loss_sum = torch.zeros((), device=self.device)
        waiting = Stopwatch()
        for step, batch in enumerate(waiting.over(self.train_part.batches(order, self.epoch)), 1):
            update = step % config.accumulate == 0 or step == len(order)
            with contextlib.nullcontext() if update else accelerator.no_sync(self.network):
                logits_BK = self.network(self._training_input(batch, seed))
                loss = weighted_loss(logits_BK.float(), batch.label_B, self.weight_K)
                accelerator.backward(loss / config.accumulate)
            loss_sum += loss.detach() * len(batch.samples)
            if update:
                done = self.epoch * len(order) + step - 1
                for group in self.optimizer.param_groups:
                    group["lr"] = optimise.learning_rate(config, done, steps)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
        samples = sum(len(samples) for samples in order) * accelerator.num_processes
        loss_mean = float(accelerator.reduce(loss_sum)) / samples
        seconds = time.perf_counter() - started
        if not np.isfinite(loss_mean):
            raise TrainingError(
                f"{self.run}: the loss of epoch {self.epoch} is {loss_mean}; lower "
                "train.learning_rate, or try train.precision=fp32"
            )
        self.epoch += 1
        if self.mean is not None and optimise.is_averaged(config, self.epoch):
            self.mean.update_parameters(accelerator.unwrap_model(self.network))
        row = {"epoch": self.epoch, "train_loss": loss_mean, "seconds": seconds}
        row |= {"samples_per_s": samples / seconds}
        row |= {"wait_share": waiting.seconds / seconds}
        row |= {"peak_memory_bytes": device.peak_memory(self.device)}
        if accelerator.scaler is not None:
            row["loss_scale"] = accelerator.scaler.get_scale()
        if self.val_part is not None:
            row |= self._validate(self.val_part)
        if accelerator.is_main_process:
            self.history.add(row)

    def _training_input(self, batch: Batch, seed: tuple[int, ...]) -> Tensor:
        volume_BCDHW = batch.volume_BCDHW
        if self.config.augment.kind == "light":
            parameters = augment.draw(self.config.augment, seed, batch.samples)
            volume_BCDHW = augment.apply(volume_BCDHW, parameters)
        return self._network_input(volume_BCDHW)

    def _network_input(self, volume_BCDHW: Tensor) -> Tensor:
        volume_BCTHW = models.to_slices_first(volume_BCDHW.float(), self.config.model.slice_axis)
        return device.to_layout(volume_BCTHW)

    def _validate(self, part: Part) -> dict[str, float]:
        """Loss and accuracy on the validation part; watched, never selected on.

        Of the network as it stands: without the mean weights and the recomputed statistics that
        the last epoch may be followed by.
        """
        probabilities = self._predict(part)
        labels = np.array(self._labels(part.subject_ids))
        chosen = np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, 1)
        return {
            "val_loss": float(-np.log(chosen).mean()),
            "val_accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        }

    def _recompute_batch_norm(self) -> None:
        """Batches as in training, but of volumes as test volumes come, without augmentation."""
        heavy = self.config.augment.kind == "heavy"
        part = self._open(self.fold.train) if heavy else self.train_part
        order = epoch_order(len(self.fold.train), self.config.train.batch_size, self.seed)
        inputs = (self._network_input(batch.volume_BCDHW) for batch in part.batches(order, 0))
        # Not through DDP, which would hand one process's statistics to all: each goes through all.
        evaluate.recompute_batch_norm(self.accelerator.unwrap_model(self.network), inputs)

    def _predict(self, part: Part) -> NDArray[np.float64]:
        return evaluate.class_probabilities(
            self.network,
            part,
            self._network_input,
            batch_size=self.config.train.eval_batch_size,
            where=self.run,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
        )

    def _save_checkpoint(self) -> None:
        started = time.perf_counter()
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = {
                "epoch": self.epoch,
                "network": self.accelerator.unwrap_model(self.network).state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "mean": self.mean.state_dict() if self.mean is not None else None,
                "scaler": scaler.state_dict() if scaler is not None else None,
                "precision": self.precision,
                "history": self.history.state(),
            }
            checkpoint.save(self.run, self.epoch, state)
        # No barrier: each process goes by its own clock here.
        self.history.spend("checkpoint_s", time.perf_counter() - started)

    def _resume(self) -> int:
        """Load the newest checkpoint; the number of epochs that it has behind it."""
        state = checkpoint.load_newest(self.run, self.device)
        if state is None:
            return 0
        if state["precision"] != self.precision:
            self.accelerator.print(
                f"warning: trained in {state['precision']} so far, in {self.precision} from here on"
            )
        self.accelerator.unwrap_model(self.network).load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.mean is not None:
            self.mean.load_state_dict(state["mean"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.history.restore(state["history"])
        return int(state["epoch"])

    def _write(self, probabilities: NDArray[np.float64]) -> None:
        """model.pt, provenance.json and, last, predictions.csv, which marks the run as done."""
        network = self.accelerator.unwrap_model(self.network)
        content = {
            "state_dict": network.state_dict(),
            "classes": list(self.split.classes),
            "contrasts": list(self.contrasts),
            "chain": self.volumes.chain(self.fold.train[0]),
            "trained_on": [self.split.subjects[item].sha256 for item in self.fold.train],
        }
        with replacing(self.run / "model.pt") as temporary:
            checkpoint.write_tensors(temporary, content)
        write_atomic(self.run / "provenance.json", json.dumps(self._provenance(), indent=1) + "\n")
        predictions.write(
            self.run / predictions.FILE_NAME,
            subjects=[self.split.subjects[subject_id] for subject_id in self.fold.test],
            fold=self.config.split.fold,
            classes=self.split.classes,
            probabilities=probabilities,
        )
        print(f"done: {self.run / predictions.FILE_NAME}", flush=True)

    def _provenance(self) -> dict[str, Any]:
        axes = models.SLICE_PERMUTATION[self.config.model.slice_axis]
        stored = self.volumes[self.fold.train[0]].shape
        shape = (1, stored[0], *(stored[1 + axis] for axis in axes))  # (B, C, T, H, W)
        samples_per_s = self.history.samples_per_s() / self.accelerator.num_processes
        return {
            **provenance.describe(self.device),
            "precision": self.precision,
            "threads": self.threads,
            "processes": self.accelerator.num_processes,
            "input": type(self.train_part).__name__.lower(),
            "layout": "channels_last_3d",
            "convolutions": "slice-wise"
            if self.device.type == "cpu"
            else "as torchvision has them",
            "matrix_units": device.has_matrix_units() if self.device.type == "cpu" else None,
            "weights_sha256": self.weights_sha256,
            "timings": self.history.timings,
            "peak_memory_bytes": self.history.last("peak_memory_bytes"),
            **provenance.arithmetic(
                self.config.model,
                len(self.split.classes),
                shape,
                self.device,
                self.precision,
                samples_per_s if self.side_by_side == 1 else None,
            ),
        }
