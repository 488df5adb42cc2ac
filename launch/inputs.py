"""What a sweep needs before any run may start: volumes, split file, libraries, weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from launch import packing, volumes
from slurm.gpus import local_gpus
from stfmri.learning import weights
from stfmri.study import pretrained, splits
from stfmri.study.candidates import inner_config
from stfmri.study.config import Config
from stfmri.study.config.sweep import ClusterConfig
from stfmri.study.config.training import FP16_NEEDS_CUDA, ModelConfig
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.networks import lacking
from stfmri.study.ready_weights import READY_WEIGHTS
from stfmri.study.rejected import FILE_NAME as REJECTED
from stfmri.study.rejected import read_rejected
from stfmri.study.runs import Run, Sweep
from stfmri.study.splits import Split
from stfmri.study.sweep_file import SWEEP_FILE
from stfmri.study.words import plural


def missing(sweep: Sweep) -> list[str]:
    """What is not there yet, each with the command or step that makes it; writes nothing.

    Raises:
        ConfigError: where the call itself was wrong, such as a class that nobody has.
    """
    found = _libraries(sweep)
    if not found:
        _check_frozen(sweep)
    # The volumes of every cache first: one division serves them all.
    for check in (_check_volumes, _check_split):
        for config in sweep.by_cache.values():
            try:
                check(sweep, config)
            except ConfigError:
                raise
            except UserError as error:
                found.append(str(error))
        if found:
            return found
    divided: dict[Path, Split] = {}
    for config in _pretrained_runs(sweep):
        try:
            if config.cache not in divided:
                divided[config.cache] = splits.check(config, _beside(sweep, config))
            pretrained.check(config, divided[config.cache])
        except UserError as error:
            found.append(str(error))
    return found


def _pretrained_runs(sweep: Sweep) -> list[Config]:
    """A configuration for each fold of each cache and network that starts pre-trained on MRI."""
    found: dict[tuple[ModelConfig, Path, int], Config] = {}
    for run in sweep.runs:
        if pretrained.name_of(run.weights) is not None:
            config = sweep.config_of(run)
            found.setdefault((config.model, config.cache, run.fold), config)
    return list(found.values())


def _libraries(sweep: Sweep) -> list[str]:
    """What this machine lacks to build the sweep's networks; its jobs will lack it as well."""
    names = dict.fromkeys(sweep.config_of(run).model.name for run in sweep.runs)
    return [
        f"{name} needs a library that is not installed: {install}"
        for name in names
        if (install := lacking(name))
    ]


def _check_frozen(sweep: Sweep) -> None:
    """Refuse a `train.freeze` that leaves a network nothing to learn.

    Raises:
        ConfigError: naming the network's stages.
    """
    configs = (sweep.config_of(run) for run in sweep.runs)
    tuned = [one for one in configs if one.train.freeze and one.model.weights != "scratch"]
    if not tuned:
        return
    # Torch takes seconds to import, and few sweeps freeze anything.
    from stfmri.learning import stages

    for config in {(one.model.name, one.train.freeze): one for one in tuned}.values():
        stages.require_some_left(config)


def _check_volumes(sweep: Sweep, config: Config) -> None:
    volumes.require_current(config, sweep.choice)


def _check_split(sweep: Sweep, config: Config) -> None:
    split = splits.check(config, _beside(sweep, config))
    splits.require_columns(split.subjects.values(), config.data.subgroups, "data.subgroups")
    for fraction in sweep.train_fractions:
        for number in range(len(split.folds)):
            splits.reduced(split.file, number, split.subjects, fraction)
    if sweep.candidates:
        splits.check(inner_config(config, sweep.candidates[0]), _beside(sweep, config))


def _beside(sweep: Sweep, config: Config) -> list[Config]:
    """The configurations of the sweep's other caches, whose subjects are divided alike."""
    return [other for cache, other in sweep.by_cache.items() if cache != config.cache]


def notes(sweep: Sweep) -> list[str]:
    """What should be known before anything trains: scans rejected, weak points of the split."""
    found = rejected(sweep)
    for config in sweep.by_cache.values():
        if not config.split.sha256 and (sweep.folder / SWEEP_FILE).is_file():
            found.append(f"split: {splits.UNHASHED}")
        try:
            split = splits.check(config, _beside(sweep, config))
            found += [f"split: {note}" for note in split.notes]
        except UserError:
            continue  # `missing` and `check` say what is wrong
    for config in _pretrained_runs(sweep):
        try:
            found += pretrained.notes(config)
        except UserError:
            continue
    return list(dict.fromkeys(found))


def lacking_here(sweep: Sweep, cluster: ClusterConfig) -> list[str]:
    """Why this machine cannot train the sweep as asked; asks no torch, which takes seconds."""
    devices = local_gpus()
    precisions = {sweep.config_of(run).train.precision for run in sweep.runs}
    networks = sum(not run.is_done() for run in sweep.runs)
    found = [FP16_NEEDS_CUDA] if "fp16" in precisions and not devices else []
    refused = packing.refusal(devices, packing.at_once(cluster, networks, len(devices)))
    return found + ([refused] if refused else [])


def rejected(sweep: Sweep) -> list[str]:
    """How many scans preprocessing rejected, a line a cache that lacks some."""
    found = []
    for cache in sweep.by_cache:
        subjects = [scan for scan in read_rejected(cache) or () if not scan.left_out]
        if subjects:
            found.append(
                f"{plural(len(subjects), 'scan')} of the cohort rejected, so in no fold; see "
                f"{cache / REJECTED}"
            )
    return found


def to_fetch(sweep: Sweep) -> list[str]:
    """Which weights submitting would fetch, each with the place for a copy; asks no network."""
    models = {sweep.config_of(run).model for run in sweep.runs if run.weights in READY_WEIGHTS}
    places = {weights.place(model, Path(sweep.config.root)): model for model in models}
    found = []
    for place, model in sorted(places.items()):
        address = READY_WEIGHTS[model.weights].address
        if address and not place.is_file():
            found.append(
                f"no weights at {place}; submitting fetches them from {address}"
                f"{model.weights_name}, or put that file there yourself"
            )
    return found


def check(sweep: Sweep, here: Sequence[str] = ()) -> None:
    """Refuse a sweep whose volumes are not there, or cannot be split as asked.

    Args:
        here: what `lacking_here` found, where this machine is to train it.

    Raises:
        UserError: naming the command that builds them, or what to change.
    """
    lacking = [*missing(sweep), *here]
    if lacking:
        raise UserError(lacking[0])


def with_splits(sweep: Sweep) -> Sweep:
    """Draw the splits, once, and give the sweep their hashes.

    Raises:
        UserError: where a split does not fit its cohort, or is not the one that was submitted.
    """
    drawn = {
        cache: splits.ensure(config, _beside(sweep, config)).sha256
        for cache, config in sweep.by_cache.items()
    }
    for config in sweep.by_cache.values():
        if sweep.candidates:
            splits.ensure(inner_config(config, sweep.candidates[0]), _beside(sweep, config))
    return sweep.with_splits(drawn)


def prepare(sweep: Sweep, runs: list[Run]) -> dict[str, Config]:
    """Complete the inputs of `runs`: the weights are fetched once.

    Returns:
        The complete configuration of each run by its name, with the weights' place and sha256.

    Raises:
        UserError: where weights cannot be had.
    """
    found: dict[ModelConfig, ModelConfig] = {}
    complete = {}
    names = {run.name for run in runs}
    for run in sweep.networks:  # not `runs`, which may lack the hash of their split
        if run.name not in names:
            continue
        config = sweep.config_of(run)
        if run.weights in READY_WEIGHTS:
            if config.model not in found:
                found[config.model] = _with_weights(config)
            config = replace(config, model=found[config.model])
        elif started := pretrained.find(config):
            model = replace(
                config.model,
                weights_file=str(started.weights),
                weights_hash=started.card.weights_sha256,
            )
            config = replace(config, model=model)
        complete[run.name] = config
    return complete


def _with_weights(config: Config) -> ModelConfig:
    """The model with its weights' place and sha256."""
    path, sha256 = weights.ensure(config.model, Path(config.root))
    if not weights.is_torchvisions(config.model, sha256):
        # Only torch can look into a file of the user's own, and better now than on a node.
        from stfmri.learning.models import read_weights

        read_weights(config.model, path)
    return replace(config.model, weights_file=str(path), weights_hash=sha256)
