"""Does a run's pipeline learn at all? Three short trainings inside its training part.

The first question is whether the network can learn eight volumes by heart: arithmetic and labels
are broken if it cannot. The others are whether what it learns from three quarters of the training
part (half of it, where patients are few) holds for the rest, and that nothing holds there once
labels are shuffled. No test subject is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray
from scipy.stats import rankdata

from stfmri.learning import models
from stfmri.learning.data import Part, epoch_order, open_part
from stfmri.learning.findings import BY_HEART, LEARNED, ByHeart, Diagnosis, HeldOut
from stfmri.learning.learner import Learner
from stfmri.learning.loss import class_weights
from stfmri.learning.seeds import Use, generator, mix
from stfmri.study.config import Config
from stfmri.study.config.training import AugmentConfig, TrainConfig
from stfmri.study.errors import UserError
from stfmri.study.shards import Volumes
from stfmri.study.splits import Fold, Split
from stfmri.study.splits.inner import divided

# Shares of the training part. Of two patients a class, say, a quarter are too few for all classes.
HELD_OUT, HELD_OUT_OF_FEW = 0.25, 0.5
PERMUTATIONS = 2000


class Pipeline:
    """A run's data and networks, for trainings that leave nothing behind."""

    def __init__(
        self, config: Config, split: Split, volumes: Volumes, accelerator: Accelerator
    ) -> None:
        self._config, self._split, self._volumes = config, split, volumes
        self._accelerator = accelerator
        fold = split.fold_of(config.split)
        self.subjects = fold.train
        self.labels = np.array(split.numbers(self.subjects))
        inner = _divided(fold, config, split)
        self._learned, self._rest = self._numbers(inner.train), self._numbers(inner.test)

    def by_heart(self, train: TrainConfig, seconds: float) -> ByHeart:
        """Learn a few volumes of all classes until the loss is small or the time is up.

        Args:
            train: its optimiser and rate are used, all volumes a step, without smoothing.
        """
        chosen = self._few()
        settings = replace(
            train,
            batch_size=len(chosen),
            accumulate=1,
            schedule="constant",
            warmup=0.0,
            label_smoothing=0.0,
            average_last=0.0,
            early_stopping=0,
        )
        learner = self._learner(settings, self.labels[chosen], batches=1, plain=True)
        part = self._part(chosen, self.labels)
        losses: list[float] = []
        started = time.perf_counter()
        while not losses or (losses[-1] >= LEARNED and time.perf_counter() - started < seconds):
            order = [list(range(len(chosen)))]
            losses.append(float(learner.learn(part.batches(order, 0))) / len(chosen))
        return ByHeart(tuple(losses), time.perf_counter() - started)

    def held_out(
        self, train: TrainConfig, epochs: int, shuffled: bool, tell: Callable[[str], None]
    ) -> HeldOut:
        """Train on most of the training part, predict the rest of it.

        Args:
            train: its schedule is fitted to the epochs.
            epochs: of `epochs_within`.
            shuffled: permute the labels of the subjects that are trained on.
            tell: is given a line of progress an epoch.
        """
        learned, rest = self._learned, self._rest
        labels = self.labels.copy()
        drawn = generator(Use.ORDER, self._config.train.seed, int(shuffled))
        if shuffled:
            labels[learned] = drawn.permutation(labels[learned])
        batches = len(self._order(learned, train, 0))
        settings = replace(train, epochs=epochs, steps=0, accumulate=1, early_stopping=0)
        learner = self._learner(settings, labels[learned], batches)
        part = self._part(learned, labels)
        while learner.epoch < epochs:
            order = self._order(learned, train, learner.epoch)
            loss = float(learner.learn(part.batches(order, learner.epoch))) / len(learned)
            tell(f"epoch {learner.epoch} of {epochs}: loss {loss:.3f}")
        learner.settle(part.batches(self._order(learned, train, epochs), 0))
        probabilities = learner.predict(self._part(rest, self.labels), self._config.sweep_folder)
        return _judged(probabilities, self.labels[rest], drawn)

    def epochs_within(self, train: TrainConfig, seconds: float) -> int:
        """How many epochs `held_out` has time for, by a step of a network that is thrown away."""
        order = self._order(self._learned, train, 0)
        learner = self._learner(train, self.labels[self._learned], batches=len(order))
        part = self._part(self._learned, self.labels)
        first, *_ = part.batches(order[:1], 0)
        learner.step(first)  # the first step warms up
        started = time.perf_counter()
        float(learner.step(first))
        pace = (time.perf_counter() - started) * len(order)
        return max(2, min(train.epochs, int(seconds / pace)))

    def _learner(
        self, train: TrainConfig, labels: NDArray[np.int64], batches: int, plain: bool = False
    ) -> Learner:
        # Nothing is fine-tuned here: the networks start from scratch.
        train = replace(train, freeze=0, layer_decay=1.0)
        config, classes = replace(self._config, train=train), len(self._split.classes)
        if plain:
            model = replace(config.model, dropout=0.0)
            config = replace(config, augment=AugmentConfig(kind="none"), model=model)
        elif config.augment.kind == "heavy":  # it runs in loader processes, too slow to start here
            config = replace(config, augment=replace(config.augment, kind="light"))
        channels = len(self._volumes.contrasts(self.subjects[0]))
        seed = mix(Use.WEIGHTS, train.seed, config.split.fold)
        model = replace(config.model, weights="scratch", stem_init="fresh")
        network = models.build(model, classes, seed, channels)
        weight_K = class_weights(labels.tolist(), classes)
        return Learner(network, config, weight_K, self._accelerator, batches)

    def _order(self, chosen: NDArray[np.int64], train: TrainConfig, epoch: int) -> list[list[int]]:
        return epoch_order(len(chosen), train.batch_size, Use.ORDER, (train.seed, epoch))

    def _part(self, chosen: NDArray[np.int64], labels: NDArray[np.int64]) -> Part:
        return open_part(
            self._volumes,
            [self.subjects[number] for number in chosen],
            labels[chosen].tolist(),
            self._accelerator.device,
            resident_share=max(self._config.train.resident_share, 0.01),
            workers=0,
        )

    def _numbers(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Places of these subjects in `subjects`."""
        place = {name: number for number, name in enumerate(self.subjects)}
        return np.array([place[name] for name in names])

    def _few(self) -> NDArray[np.int64]:
        """Volumes to learn by heart, of each class in turn."""
        by_class = [np.flatnonzero(self.labels == label) for label in np.unique(self.labels)]
        longest = max(map(len, by_class))
        turns = [some[turn] for turn in range(longest) for some in by_class if turn < len(some)]
        return np.array(turns[:BY_HEART])


def diagnose(
    pipeline: Pipeline,
    own: TrainConfig,
    recommended: TrainConfig,
    seconds: float,
    tell: Callable[[str], None] = lambda _: None,
) -> Diagnosis:
    """Answer the three questions.

    Args:
        own: the run's settings.
        seconds: for each of the four short trainings.
        tell: is given lines of progress.
    """
    tell(f"{BY_HEART} volumes by heart, with train=recommended")
    heart = pipeline.by_heart(recommended, seconds)
    tell(f"loss {heart.losses[-1]:.3f} after {len(heart.losses)} steps")
    if own == replace(recommended, threads=own.threads, seed=own.seed):
        mine = heart
    else:
        tell(f"{BY_HEART} volumes by heart, with this run's settings")
        mine = pipeline.by_heart(own, seconds)
        tell(f"loss {mine.losses[-1]:.3f} after {len(mine.losses)} steps")
    train = own if mine.succeeded else recommended
    epochs = pipeline.epochs_within(train, seconds)
    found = []
    for shuffled in (False, True):
        tell(f"training with {'shuffled' if shuffled else 'true'} labels")
        found.append(pipeline.held_out(train, epochs, shuffled, tell))
        tell(f"AUC of held-out training subjects {found[-1].auc:.2f}")
    return Diagnosis(mine, heart, *found)


def _divided(fold: Fold, config: Config, split: Split) -> Fold:
    """The training part in two: one to learn, and as `test` one to predict.

    Raises:
        UserError: where some class has too few independent patients to be in both.
    """

    def at(share: float) -> Fold:
        settings = (share, config.split.seed, "stfmri.check")
        return divided(fold, config.split.fold, split.file, split.subjects, *settings)

    try:
        return at(HELD_OUT)
    except UserError:
        return at(HELD_OUT_OF_FEW)


def _judged(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], drawn: np.random.Generator
) -> HeldOut:
    score = float(macro_auc(probabilities, labels[None])[0])
    dealt = drawn.permuted(np.tile(labels, (PERMUTATIONS, 1)), axis=1)
    at_least = int((macro_auc(probabilities, dealt) >= score).sum())
    return HeldOut(score, (1 + at_least) / (1 + PERMUTATIONS), len(labels))


def macro_auc(
    probabilities_NK: NDArray[np.float64], labels_PN: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean one-versus-rest AUC for each of P dealings of the labels, float (P,).

    From the ranks of Mann and Whitney's U, so that thousands of dealings take no time. Classes
    that nobody or everybody has are left out; all dealings have the same counts.
    """
    areas = []
    for label in np.unique(labels_PN[0]):
        own_PN = labels_PN == label
        positives = int(own_PN[0].sum())
        negatives = own_PN.shape[1] - positives
        if negatives:
            ranks = rankdata(probabilities_NK[:, label])
            above = own_PN @ ranks - positives * (positives + 1) / 2
            areas.append(above / (positives * negatives))
    return np.mean(areas, axis=0)
