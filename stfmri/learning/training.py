"""Train one run, one variant on one fold, and predict its test subjects once, at the end.

A run killed at any moment and started again goes on from its last published epoch and ends with
the same predictions; on a GPU, with the same but for the order of its sums. Paper:
'Implementation and training', 'Weighted cross-entropy loss'.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import nn

from stfmri.learning import checkpoint, device, forms, models, provenance, weights
from stfmri.learning.acceleration import accelerator_of
from stfmri.learning.data import Part, epoch_order, open_part
from stfmri.learning.learner import Learner
from stfmri.learning.loss import class_weights
from stfmri.learning.loss_scale import scaled_steps
from stfmri.learning.pretraining import loading
from stfmri.learning.seeds import Use, mix
from stfmri.study import config as configuration
from stfmri.study import history, locks, predictions, pretrained, quality, selection, splits
from stfmri.study.config import Config
from stfmri.study.errors import DivergedError, UserError, first_line
from stfmri.study.files import clear_leftovers, replacing, sha256_of, write_atomic
from stfmri.study.history import History, Stopwatch
from stfmri.study.naming import MODEL_FILE
from stfmri.study.pretrained import Pretrained
from stfmri.study.quality import TrainingScan
from stfmri.study.ready_weights import READY_WEIGHTS
from stfmri.study.shards import Volumes
from stfmri.study.splits import Split
from stfmri.study.verify import Verification


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
    accelerator = accelerator_of(config)
    holds = locks.lock(run) if accelerator.is_main_process else contextlib.nullcontext()
    with holds:
        if predictions.is_done(run, config.split.fold):
            accelerator.print(f"{run} is done already")
        else:
            if accelerator.is_main_process:
                clear_leftovers([run])
            Run(config, run, accelerator, side_by_side).finish()
    # Several processes part before they exit: one that is gone first may abort the others.
    accelerator.end_training()


@dataclass
class Run:
    """A run at work: its files, its data, its learner, and how far it has come."""

    config: Config
    folder: Path
    accelerator: Accelerator
    side_by_side: int = 1

    def __post_init__(self) -> None:
        started = time.perf_counter()
        config, accelerator = self.config, self.accelerator
        self.device = accelerator.device
        self.precision = device.resolve_precision(
            config.train.precision, self.device.type, config.model.name
        )
        self.threads = device.set_threads(config.train.threads)
        if self.device.type == "cpu":
            device.keep_freed_memory()
        device.set_arithmetic(config.train.deterministic)
        self.split = self._divided()
        self.fold = self.split.fold_of(config.split)
        if config.train.early_stopping and not self.fold.val:
            raise UserError(
                "train.early_stopping needs a validation part, and fold "
                f"{config.split.fold} has none; set split.val_fraction, such as 0.2"
            )
        self.volumes = Volumes(config.cache, splits.rows_for(config, self.fold))
        self.verification = Verification(self.volumes)
        self.contrasts = self.volumes.contrasts(self.fold.train[0])
        self.train_part = self._open(self.fold.train, self._heavy())
        self.val_part = self._open(self.fold.val) if self.fold.val else None
        self.weights_sha256: str | None = None
        self.pretrained: Pretrained | None = None
        weight_K = class_weights(self.split.numbers(self.fold.train), len(self.split.classes))
        batches = len(self._order(Use.ORDER, 0))
        self.learner = Learner(self._build(), config, weight_K, accelerator, batches)
        self.history = History(self.folder / history.FILE_NAME)
        self._resume()
        self.history.timings["startup_s"] = (
            self.history.timings.get("startup_s", 0.0) + time.perf_counter() - started
        )

    def finish(self) -> None:
        """Train the epochs that are left, predict the test subjects, write the run's files."""
        self.train()
        started = time.perf_counter()
        probabilities = self.learner.predict(self._open(self.fold.test), self.folder)
        self.history.spend("evaluate_s", time.perf_counter() - started)
        if self.accelerator.is_main_process:
            self._write(probabilities)
        self.accelerator.wait_for_everyone()

    def train(self) -> None:
        """Train the epochs that are left, and go over to the weights that are tested."""
        self._announce()
        published = time.monotonic()
        while not self._is_trained():
            self.train_epoch()
            self.verification.require_so_far()
            due = time.monotonic() - published >= self.config.checkpoint.every_s
            if due or self._is_trained():
                self.save_checkpoint()
                published = time.monotonic()
        self.verification.require()
        started = time.perf_counter()
        # Batches as in training, but of volumes as test volumes come.
        part = self._unchanged()
        order = epoch_order(
            len(self.fold.train), self.config.train.batch_size, Use.STATISTICS, self.learner.seed
        )
        self.learner.settle(part.batches(order, 0))
        self.history.spend("evaluate_s", time.perf_counter() - started)

    def _divided(self) -> Split:
        """Who trains and who is tested."""
        return splits.ensure(self.config)

    def _unchanged(self) -> Part:
        """The training part without what loaders change in it."""
        heavy = self.config.augment.kind == "heavy"
        return self._open(self.fold.train) if heavy else self.train_part

    def _announce(self) -> None:
        fold, config = self.fold, self.config
        self.accelerator.print(
            f"{config.model.name} ({config.model.weights}), fold {config.split.fold}: "
            f"{len(fold.train)} training, {len(fold.val)} validation, {len(fold.test)} test "
            f"subjects; {self.precision} on {provenance.device_name(self.device)}, "
            f"{self.threads} threads; from epoch {self.learner.epoch} of {self.learner.epochs}",
            flush=True,
        )

    def _is_trained(self) -> bool:
        """Whether all epochs are over, or the validation loss has not fallen for long enough."""
        patience, learner = self.config.train.early_stopping, self.learner
        waited = learner.epoch - self._best_epoch() if patience and learner.epoch else 0
        return learner.epoch >= learner.epochs or bool(patience and waited >= patience)

    def _best_epoch(self) -> int:
        """The epoch of the lowest validation loss, counted from 1; of equal ones the first."""
        losses = self.history.column("val_loss")
        return int(np.argmin(losses)) + 1

    def _open(self, subject_ids: Sequence[str], transform: Any = None) -> Part:
        return open_part(
            self.volumes,
            subject_ids,
            self.split.numbers(subject_ids),
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

        seed = (self.config.train.seed, self.config.split.fold)
        return HeavyAugmentation(self.config.augment, self.config.preprocessing.spacing_mm, seed)

    def _build(self) -> nn.Module:
        model, train = self.config.model, self.config.train
        classes, channels = len(self.split.classes), len(self.contrasts)
        seed = mix(Use.WEIGHTS, train.seed, self.config.split.fold)
        network = models.build(model, classes, seed, channels)
        if model.weights in READY_WEIGHTS:
            file, self.weights_sha256 = weights.ensure(model, Path(self.config.root))
            models.load_weights(network, model, file)
        elif found := pretrained.check(self.config, self.split):
            loading.load_pretrained(network, models.head_of(model), found.weights)
            self.pretrained, self.weights_sha256 = found, found.card.weights_sha256
        return network

    def _order(self, use: Use, epoch: int) -> list[list[int]]:
        """This process's batches of an epoch."""
        return epoch_order(
            len(self.fold.train),
            self.config.train.batch_size,
            use,
            (self.config.train.seed, self.config.split.fold, epoch),
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )

    def train_epoch(self) -> None:
        """One pass over the training part. Nothing waits for the device before its end."""
        accelerator, learner = self.accelerator, self.learner
        device.forget_peak_memory(self.device)
        started = time.perf_counter()
        order = self._order(Use.ORDER, learner.epoch)
        # A number on the device, which only the loss scaler makes worth waiting for.
        taken_before = learner.steps_taken() if accelerator.scaler is not None else 0
        waiting = Stopwatch()
        loss_sum = learner.learn(waiting.over(self.train_part.batches(order, learner.epoch)))
        samples = sum(len(samples) for samples in order) * accelerator.num_processes
        loss_mean = float(accelerator.reduce(loss_sum)) / samples
        seconds = time.perf_counter() - started
        if not np.isfinite(loss_mean):
            advice = "" if self.precision == "fp32" else ", or try train.precision=fp32"
            raise DivergedError(
                f"{self.folder}: the loss of epoch {learner.epoch} is {loss_mean}; lower "
                f"train.learning_rate{advice}"
            )
        row = {"epoch": learner.epoch, "epochs": learner.epochs, "train_loss": loss_mean}
        row |= {"seconds": seconds, "samples_per_s": samples / seconds}
        row |= {"wait_share": waiting.seconds / seconds}
        row |= {"peak_memory_bytes": device.peak_memory(self.device, self.learner.is_captured)}
        if accelerator.scaler is not None:
            row |= scaled_steps(learner, accelerator.scaler, taken_before, self.folder)
        if self.val_part is not None:
            row |= self._validate(self.val_part)
        self.history.add(row, publish=accelerator.is_main_process)
        if self.config.train.early_stopping and self._best_epoch() == learner.epoch:
            learner.keep_best()

    def _validate(self, part: Part) -> dict[str, float]:
        """Loss and accuracy on the validation part, with the network as it is now.

        Without the mean weights and the recomputed statistics that the last epoch may be followed
        by. The loss is the training loss, each class weighted as there, without smoothing.
        """
        probabilities = self.learner.predict(part, self.folder)
        labels = np.array(self.split.numbers(part.subject_ids))
        weights = self.learner.weight_K.cpu().numpy()[labels]
        chosen = np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, 1)
        return {
            "val_loss": float(-(weights * np.log(chosen)).mean()),
            "val_accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        }

    def save_checkpoint(self) -> None:
        """Publish the state after the last finished epoch, once its volumes are verified."""
        self.verification.require()
        started = time.perf_counter()
        if self.accelerator.is_main_process:
            state = self.learner.state()
            state |= {"precision": self.precision, "history": self.history.state()}
            state |= {"of": self._identity()}
            checkpoint.save(self.folder, self.learner.epoch, state)
        # No barrier: each process goes by its own clock here.
        self.history.spend("checkpoint_s", time.perf_counter() - started)

    def _resume(self) -> None:
        """Go on from the newest checkpoint that is whole and of this run, if there is one."""
        fresh: dict[str, Any] | None = None
        warn = self.accelerator.print
        for folder, state in checkpoint.newest_first(self.folder, warn):
            fresh = fresh or copy.deepcopy(self.learner.state())
            try:
                self._restore(state)
            except checkpoint.OF_THE_MACHINE:
                raise  # and not the checkpoint's fault
            except checkpoint.UNFIT as error:
                warn(f"warning: this checkpoint counts as absent: {folder}: {first_line(error)}")
                self.learner.load_state(fresh)
                self.history = History(self.folder / history.FILE_NAME)
                continue
            if state["precision"] != self.precision:
                warn(f"warning: trained in {state['precision']} so far, from here {self.precision}")
            return

    def _restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's state; one that does not fit raises one of `UNFIT`."""
        lacking = {"precision", "history"} - state.keys()
        # A checkpoint of an earlier version does not say whose it is.
        if lacking or state.get("of", self._identity()) != self._identity():
            raise ValueError("it is of another run, or of no run")
        self.learner.load_state(state)
        self.history.restore(state["history"])
        if self.history.column("epoch") != list(range(1, self.learner.epoch + 1)):
            raise ValueError(f"its history is not that of {self.learner.epoch} epochs")

    def _identity(self) -> str:
        """What tells this run's checkpoints from those of other networks and folds."""
        volumes = sorted(self.split.subjects[item].sha256 for item in self.fold.train)
        said = json.dumps([self.config.model.name, self.config.train.seed, volumes])
        return hashlib.sha256(said.encode()).hexdigest()

    def _write(self, probabilities: NDArray[np.float64]) -> None:
        """model.pt, provenance.json and, last, predictions.csv, which marks the run as done."""
        content = {
            "state_dict": self.learner.bare_network.state_dict(),
            "classes": list(self.split.classes),
            "contrasts": list(self.contrasts),
            "chain": self.volumes.chain(self.fold.train[0]),
            "trained_on": sorted(self._trained_on()),
            "training_scans": [scan.as_plain() for scan in self._training_scans()],
        }
        with replacing(self.folder / MODEL_FILE) as temporary:
            checkpoint.write_tensors(temporary, content)
        made = {"model_sha256": sha256_of(self.folder / MODEL_FILE)}
        write_atomic(
            self.folder / "provenance.json", json.dumps(self._provenance() | made, indent=1) + "\n"
        )
        predictions.write(
            self.folder / predictions.FILE_NAME,
            subjects=[self.split.subjects[subject_id] for subject_id in self.fold.test],
            fold=self.config.split.fold,
            classes=self.split.classes,
            probabilities=probabilities,
        )
        checkpoint.keep_newest(self.folder)
        print(f"done: {self.folder / predictions.FILE_NAME}", flush=True)

    def _trained_on(self) -> set[str]:
        """Hash of each volume that the weights depend on, those of pre-training included."""
        seen = {self.split.subjects[item].sha256 for item in self.fold.train}
        return seen | self.pretrained.card.volumes if self.pretrained else seen

    def _training_scans(self) -> list[TrainingScan]:
        """What quality control measured of the training subjects, to compare new scans with."""
        known, subjects = quality.read(self.config.cache), self.split.subjects
        return [
            TrainingScan(subjects[name].sha256, known[name])
            for name in self.fold.train
            if name in known
        ]

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
            **forms.described(self.learner.bare_network),
            "cuda_graph": self.learner.is_captured,
            "matrix_units": device.has_matrix_units() if self.device.type == "cpu" else None,
            "weights_sha256": self.weights_sha256,
            "pretraining": self.pretrained.card.summary() if self.pretrained else None,
            "epochs": self.learner.epoch,
            "best_epoch": self._best_epoch() if self.config.train.early_stopping else None,
            "selection": selection.record(self.folder),
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
