"""A pre-training at work: a run that tests nobody and leaves weights with their card.

It is `stfmri.learning.training.Run` on another division of the cohort: everybody who may be seen
trains, under the task's classes. Checkpoints, resuming, precision and progress are that run's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from accelerate.state import AcceleratorState
from torch import nn

from stfmri.learning import acceleration, checkpoint, models, training
from stfmri.learning.data import Part
from stfmri.learning.loss import guessing_loss
from stfmri.learning.pretraining import request as requests
from stfmri.learning.pretraining.loading import without_head
from stfmri.learning.pretraining.request import Request
from stfmri.learning.pretraining.targets import Targets
from stfmri.learning.pretraining.tasks import TASKS, Task
from stfmri.learning.seeds import Use, mix
from stfmri.study import cards, chains, duplicates, locks, pretrained, splits
from stfmri.study.cards import Card, Seen
from stfmri.study.config import Config
from stfmri.study.config.training import PRETRAINED
from stfmri.study.errors import UserError
from stfmri.study.files import private_dir, replacing, sha256_of
from stfmri.study.git import code_state
from stfmri.study.serialise import load_yaml
from stfmri.study.shards import IndexRow, read_index
from stfmri.study.splits import Fold, Split, SplitFile, Subject
from stfmri.study.words import plural

HEAD_TAG = 1  # its seed is not the network's


def pretrain(request: Request) -> None:
    """Pre-train what was asked for, or go on with it; nothing is done where it is finished.

    Raises:
        RunHeldError: where another live process holds it.
        UserError: where another pre-training was begun under its name, or the volumes, the label
            or the network's weights cannot be used.
        TrainingError: where the loss stops being a number.
    """
    folder = private_dir(request.folder)
    with locks.lock(folder):
        requests.require_same(request)
        if (folder / cards.CARD_FILE).is_file():
            print(f"{folder} is done already", flush=True)
            return
        who = _who(request)
        config = _learning(request)
        # One process may pre-train several folds, and Accelerate keeps one state a process.
        AcceleratorState._reset_state(reset_partial_state=True)
        accelerator = acceleration.accelerator_of(config)
        if accelerator.num_processes > 1:
            raise UserError(
                "python -m stfmri.pretrain works in one process; start it without torchrun"
            )
        run = Pretraining(config, folder, accelerator, request=request, seen=who)
        requests.keep(request)  # only now, since what is refused claims no name
        run.finish()


@dataclass(frozen=True)
class _Who:
    """Whom the request lets the network see.

    Attributes:
        split_sha256: of the folds; empty where all of the cohort is seen.
    """

    rows: tuple[IndexRow, ...]
    split_sha256: str


def _who(request: Request) -> _Who:
    config = request.config
    rows = read_index(config.cache)
    if request.fold is None:
        chains.require(rows, config.chain, config.data.channels)
        return _Who(tuple(rows), "")
    split = splits.ensure(config)
    mine = set(split.folds[request.fold].train)
    return _Who(tuple(row for row in rows if row.subject_id in mine), split.sha256)


def _learning(request: Request) -> Config:
    """The sweep's configuration, without what concerns a validation part or earlier weights."""
    config = request.config
    if pretrained.name_of(config.model.weights) is not None:
        raise UserError(
            f"model.weights={config.model.weights} cannot be pre-trained further: its card would "
            "not name the subjects that they saw before; start from scratch or kinetics"
        )
    train = replace(config.train, early_stopping=0, freeze=0, layer_decay=1.0)
    augment = TASKS[request.task].augment(config.augment)
    return replace(config, train=train, augment=augment)


@dataclass
class Pretraining(training.Run):
    """A run whose division is a task's, and whose product is weights."""

    request: Request = field(kw_only=True)
    seen: _Who = field(kw_only=True)

    def __post_init__(self) -> None:
        self.task: Task = TASKS[self.request.task]
        pairs = duplicates.read(self.config.cache)
        self.targets: Targets = self.task.targets(self.request, self.seen.rows, pairs)
        super().__post_init__()
        if self.task.hide is not None:
            self.train_part = self.task.hide(self.train_part, self.learner.seed)

    def finish(self) -> None:
        """Train the epochs that are left, then write the weights and, last, their card."""
        self.train()
        file = self.folder / cards.WEIGHTS_FILE
        with replacing(file) as temporary:
            state = without_head(self.learner.bare_network, models.head_of(self.config.model))
            checkpoint.write_tensors(temporary, state)
        loss, guessing = self.history.column("train_loss")[-1], self._guessing()
        card = self._card(sha256_of(file), loss, guessing)
        cards.write(card, self.folder)
        checkpoint.discard(self.folder)
        print(f"done: {file}; use it as {PRETRAINED}{self.request.name}", flush=True)
        print(
            f"its loss, weighted by class, ended at {loss:.3g}; that of guessing is {guessing:.3g}",
            flush=True,
        )
        if card.has_hardly_learned:
            print(
                "warning: it has hardly learned its task, so its weights have gained little; train "
                f"longer (train.epochs={2 * self.learner.epochs}, under another --name)",
                flush=True,
            )

    def _guessing(self) -> float:
        smoothing = self.config.train.label_smoothing
        return guessing_loss(self.targets.labels, self.learner.weight_K, smoothing)

    def _divided(self) -> Split:
        """Everybody trains, as the task's classes; nobody is tested."""
        classes = self.targets.classes or tuple(map(str, range(self.targets.count)))
        subjects = {
            row.subject_id: Subject(
                row.subject_id, row.patient_id, row.source, classes[label], row.sha256
            )
            for row, label in zip(self.targets.rows, self.targets.labels, strict=True)
        }
        # As many as there are, since the run takes the one of its own number.
        folds = (Fold(tuple(subjects), (), ()),) * (self.config.split.fold + 1)
        path = self.folder / requests.FILE_NAME
        file = SplitFile(path, "", self.request.label, classes, folds)
        return Split(path, classes, folds, subjects, (), file)

    def _unchanged(self) -> Part:
        return self._open(self.fold.train)

    def _announce(self) -> None:
        request, targets = self.request, self.targets
        part = "" if request.fold is None else f" of fold {request.fold}'s training part"
        if targets.note:
            print(targets.note, flush=True)
        volumes = plural(len(targets.rows), "volume")
        print(
            f"{self.folder.relative_to(self.config.root)}: {self.config.model.name} to be "
            f"{self.task.method(request, targets)}, on {volumes}{part}; "
            f"{self.precision}, {self.threads} threads; from epoch {self.learner.epoch} of "
            f"{self.learner.epochs}",
            flush=True,
        )

    def _build(self) -> nn.Module:
        network = super()._build()
        if self.task.head is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(
                    mix(Use.WEIGHTS, self.config.train.seed, self.config.split.fold, HEAD_TAG)
                )
                head = models.head_of(self.config.model)
                features = _features(network.get_submodule(head))
                network.set_submodule(head, self.task.head(features, self.targets.count))
        return network

    def _card(self, sha256: str, loss: float, guessing: float) -> Card:
        config, request = self.config, self.request
        shard = self.volumes.chain(self.fold.train[0])
        return Card(
            name=request.name,
            network=config.model.name,
            stem=config.model.stem,
            slice_axis=config.model.slice_axis,
            channels=tuple(self.contrasts),
            shape=tuple(self.volumes[self.fold.train[0]].shape[1:]),
            cohort=config.data.name,
            task=request.task,
            method=self.task.method(request, self.targets),
            label=request.label,
            classes=self.targets.classes,
            fold=request.fold,
            split_sha256=self.seen.split_sha256,
            chain=dict(load_yaml(shard, str(config.cache))),
            licence=request.licence,
            seed=config.train.seed,
            epochs=self.learner.epoch,
            final={"train_loss": loss, "guessing_loss": guessing},
            code=code_state(),
            weights_sha256=sha256,
            subjects=tuple(
                Seen(row.subject_id, row.patient_id, row.sha256) for row in self.targets.rows
            ),
        )


def _features(head: nn.Module) -> int:
    """How many numbers a network's head is given."""
    return next(layer.in_features for layer in head.modules() if isinstance(layer, nn.Linear))
