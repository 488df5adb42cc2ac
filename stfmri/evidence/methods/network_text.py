"""Networks and training in words, from the configurations of a sweep's variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stfmri.evidence.methods.pretraining_text import FREEZE, LAYER_DECAY, pretraining
from stfmri.evidence.methods.settings import Phrase, Settings, plain
from stfmri.evidence.methods.study import Study, Variant
from stfmri.evidence.methods.wording import NOT_RECORDED, capital, distinct
from stfmri.study.config.training import PRETRAINED
from stfmri.study.networks import networks as known_networks
from stfmri.study.ready_weights import READY_WEIGHTS, SCRATCH
from stfmri.study.words import counted, enumerated, plural

STEMS = {"fresh": "a newly drawn first layer", "rgb_sum": "a first layer summed over its colours"}
OPTIMISERS = {"adam": "Adam", "adamw": "AdamW"}
SCHEDULES = {"constant": "kept constant", "cosine": "falling to zero along a cosine"}
AUGMENTATIONS = {
    "light": "random affine changes and flips",
    "heavy": "random affine changes, flips, elastic deformation and k-space artefacts",
}
ARTEFACTS = ("elastic", "motion", "spike", "ghosting")


def _named(words: Mapping[str, str], value: Any, else_: str) -> str:
    """The words of a choice; of one that has none yet, its own name."""
    return words.get(value, f"{else_} {value}")


def _initial(weights: str, stem_init: str) -> str:
    if weights.startswith(PRETRAINED):
        name = weights.removeprefix(PRETRAINED)
        return f"weights pre-trained on MRI ({name}; with a new classification head)"
    if weights == SCRATCH:
        return "random weights"
    ready = READY_WEIGHTS.get(weights)
    if ready is None:
        return f"initial weights {weights}"
    if ready.keeps_first_layer:
        return f"{ready.phrase}, with a new classification head"
    stem = _named(STEMS, stem_init, "first layer")
    return f"{ready.phrase} (with {stem} and a new classification head)"


def _batch(size: int, accumulate: int) -> str:
    gathered = f" whose gradients were averaged over {accumulate} batches" if accumulate > 1 else ""
    return f"batches of {plural(size, 'volume')}{gathered}"


def _epochs(epochs: int, steps: int) -> str:
    least = f" or {plural(steps, 'step')}, whichever was longer," if steps else ""
    return f"{plural(epochs, 'epoch')}{least}"


def _schedule(kind: str, warmup: float) -> str:
    rising = f"rising over the first {warmup:.0%} of the steps, then " if warmup else ""
    return f"{rising}{_named(SCHEDULES, kind, 'with the schedule')}"


def _smoothing(share: float) -> str:
    return f"{share:.0%} of each target was spread over all classes" if share else ""


def _early(patience: int) -> str:
    if not patience:
        return ""
    return (
        f"training stopped after {plural(patience, 'epoch')} without a lower validation loss, "
        "and the weights of the best epoch were tested"
    )


def _intensity(probability: float, log_gamma: float, shading: float, noise: float) -> str:
    if not probability:
        return ""
    return (
        f"with probability {probability:g} the intensities of a training volume were changed: an "
        f"exponent of e to ±{log_gamma:g}, smooth shading (coefficients up to {shading:g}) and "
        f"noise (standard deviation up to {noise:g})"
    )


def _average(share: float) -> str:
    return f"the weights of the last {share:.0%} of the epochs were averaged" if share else ""


def _batch_norm(kind: str) -> str:
    if kind == "recomputed":
        return "batch-norm statistics were recomputed on the training part before testing"
    return "" if kind == "running" else f"batch-norm statistics were of the kind {kind}"


def _augmentation(
    kind: str, affine: float, scale: Any, degrees: float, flip: float, *heavy: float
) -> str:
    if kind == "none":
        return "no augmentation"
    more = "".join(
        f", {what} {probability:g}"
        for what, probability in zip(ARTEFACTS, heavy, strict=True)
        if kind == "heavy"
    )
    return (
        f"{_named(AUGMENTATIONS, kind, 'the augmentation')} (scale {scale[0]:g}–{scale[1]:g} and "
        f"rotation up to ±{degrees:g}°, with probability {affine:g}; probability of a left–right "
        f"flip {flip:g}{more})"
    )


INITIAL = Phrase(("model.weights", "model.stem_init"), _initial)
INPUT = Phrase(
    ("data.contrasts", "model.slice_axis", "model.stem", "model.dropout"),
    lambda contrasts, axis, stem, dropout: (
        f"{counted(max(1, len(contrasts)))}-channel volumes as {axis} slices (stem: {stem}; "
        f"dropout before the classification head: {dropout:g})"
    ),
)
RATE = Phrase(("train.learning_rate",), lambda rate: f"{rate:g}")
SCHEDULE = Phrase(("train.schedule", "train.warmup"), _schedule)
DECAY = Phrase(("train.weight_decay",), lambda decay: f"{decay:g}")
EPOCHS = Phrase(("train.epochs", "train.steps"), _epochs)
BATCH = Phrase(("train.batch_size", "train.accumulate"), _batch)
SMOOTHING = Phrase(("train.label_smoothing",), _smoothing)
EARLY = Phrase(("train.early_stopping",), _early)
INTENSITY = Phrase(
    (
        "augment.intensity_probability",
        "augment.log_gamma",
        "augment.shading",
        "augment.noise",
    ),
    _intensity,
)
AVERAGE = Phrase(("train.average_last",), _average)
BATCH_NORM = Phrase(("train.batch_norm",), _batch_norm)
SEED = Phrase(("train.seed",), str)
AUGMENTATION = Phrase(
    (
        "augment.kind",
        "augment.affine_probability",
        "augment.scale",
        "augment.degrees",
        "augment.flip_probability",
        *(f"augment.{name}_probability" for name in ARTEFACTS),
    ),
    _augmentation,
)
OPTIMISER = Phrase(("train.optimizer",), lambda name: _named(OPTIMISERS, name, "the optimiser"))
MODEL = Phrase(("model.name",), str)
COVERED = frozenset(
    key
    for phrase in (
        *(INITIAL, INPUT, RATE, SCHEDULE, DECAY, EPOCHS, BATCH),
        *(AVERAGE, BATCH_NORM, SEED, AUGMENTATION, MODEL),
        *(OPTIMISER, SMOOTHING, EARLY, INTENSITY),
        *(FREEZE, LAYER_DECAY),
    )
    for key in phrase.keys
)


def sentences(study: Study) -> tuple[str, ...]:
    """What was trained, and how; of alternatives, each variant used one."""
    if not study.variants:
        return ()
    settings = study.settings
    found = [
        *architecture(study),
        *pretraining(study),
        optimisation(study),
        loss(),
        f"Training volumes were given {settings.said(AUGMENTATION)}; test volumes were never "
        "augmented.",
        *_afterwards(settings),
        *([study.choosing] if study.choosing else []),
        selection(study),
        f"Arithmetic precision: {recorded(study.provenances, 'precision')}; {seeds(study)}.",
    ]
    if varying := study.compared.varying():
        found.append(
            f"Variants differ in {enumerated(varying)}; of the alternatives given, each used one."
        )
    if beyond := settings.beyond(COVERED):
        found.append(f"Further settings other than the defaults: {'; '.join(beyond)}.")
    return tuple(found)


def seeds(study: Study) -> str:
    """Which seeds."""
    several = study.config.sweep.seeds
    if len(several) < 2:
        return f"seed {study.settings.said(SEED)}"
    seeds = enumerated(list(map(str, several)))
    return f"every variant was trained on each fold with the seeds {seeds}"


def architecture(study: Study) -> tuple[str, ...]:
    """Which networks, where their weights came from, and what they took as input."""
    settings = study.settings
    return (
        f"{plural(len(study.variants), 'variant')} of "
        f"{plural(len(settings.alternatives(MODEL)), 'network')} "
        f"{'was' if len(study.variants) == 1 else 'were'} trained: {networks(study.variants)}.",
        f"Networks started from {settings.said(INITIAL)} and took {settings.said(INPUT)}.",
    )


def networks(variants: Sequence[Variant]) -> str:
    """Each network once: what it is, and the trainable parameters that its runs recorded."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for variant in variants:
        by_name.setdefault(variant.config.model.name, []).extend(variant.provenances)
    return enumerated(
        [f"{name} ({_known(name)}{parameters(runs)})" for name, runs in by_name.items()]
    )


def _known(name: str) -> str:
    """What conf/model says of a network; nothing where it has it no longer."""
    about = known_networks().get(name)
    return f"{about.phrase}; {about.citation}; " if about else ""


def parameters(runs: Sequence[Mapping[str, Any]]) -> str:
    """Trainable parameters, as runs recorded them."""
    found = distinct(
        f"{count:,}" for run in runs if isinstance(count := run.get("parameters"), int)
    )
    return (
        f"{enumerated(found, 'or')} trainable parameters" if found else f"parameters {NOT_RECORDED}"
    )


def optimisation(study: Study) -> str:
    """Optimiser, step size, batches and epochs."""
    settings = study.settings
    return (
        f"They were optimised by {settings.said(OPTIMISER)} for {trained_for(study)} in "
        f"{settings.said(BATCH)}, with a learning rate of {settings.said(RATE)} "
        f"({settings.said(SCHEDULE)}) and a weight decay of {settings.said(DECAY)}."
    )


def trained_for(study: Study) -> str:
    """The epochs that every run trained, where they agree and none could stop early; else asked."""
    found = {run.get("epochs") for run in study.provenances}
    early = any(variant.config.train.early_stopping for variant in study.variants)
    if len(found) == 1 and not early and isinstance(epochs := found.pop(), int):
        return plural(epochs, "epoch")
    return study.settings.said(EPOCHS)


def loss() -> str:
    """The loss, which is the same for every network."""
    return (
        "The loss was cross-entropy, each scan weighted by one minus its class's share of the "
        "training part."
    )


def selection(study: Study) -> str:
    """Whether a model was chosen, and on what."""
    if any(variant.config.train.early_stopping for variant in study.variants):
        return "The epoch was chosen on the validation part; the test part was predicted once."
    if any(fold.val for fold in study.cohort.folds):
        return (
            "The validation part was watched and never selected on; the network after the last "
            "epoch was tested, once."
        )
    if study.choosing:
        return "The network after the last epoch was tested, once."
    return "No model was selected: the network after the last epoch was tested, once."


def recorded(runs: Sequence[Mapping[str, Any]], key: str) -> str:
    """The distinct values that runs recorded under a key."""
    return enumerated(distinct(plain(run[key]) for run in runs if run.get(key))) or NOT_RECORDED


def _afterwards(settings: Settings) -> tuple[str, ...]:
    """What was done to the weights after training, in some variants or in all."""
    return tuple(
        f"{capital(said)}."
        for phrase in (INTENSITY, SMOOTHING, EARLY, AVERAGE, BATCH_NORM)
        if (said := settings.said_of_some(phrase))
    )
