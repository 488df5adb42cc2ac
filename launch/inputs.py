"""What a sweep needs before any run may start: shards, split file, libraries, weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from launch import packing
from preprocessing.cohorts import Scan, find_scans, layout_of
from preprocessing.command import preprocessing_command
from slurm.gpus import local_gpus
from stfmri.learning import weights
from stfmri.study import pretrained, splits
from stfmri.study.candidates import inner_config
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig
from stfmri.study.config.sweep import ClusterConfig
from stfmri.study.config.training import FP16_NEEDS_CUDA, ModelConfig
from stfmri.study.errors import ConfigError, UserError
from stfmri.study.networks import lacking
from stfmri.study.ready_weights import READY_WEIGHTS
from stfmri.study.rejected import FILE_NAME as REJECTED
from stfmri.study.rejected import read_rejected
from stfmri.study.runs import Run, Sweep
from stfmri.study.shards import IndexRow, read_index
from stfmri.study.splits import Split
from stfmri.study.sweep_file import SWEEP_FILE
from stfmri.study.words import listed as listed_words
from stfmri.study.words import plural


def missing(sweep: Sweep) -> list[str]:
    """What is not there yet, each with the command or step that makes it; writes nothing.

    Raises:
        ConfigError: where the call itself was wrong, such as a class that nobody has.
    """
    found = _libraries(sweep)
    # The volumes of every cache first: one division serves them all.
    for check in (partial(_check_volumes, sweep), partial(_check_split, sweep)):
        for config in sweep.by_cache.values():
            try:
                check(config)
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


def _check_volumes(sweep: Sweep, config: Config) -> None:
    if not (config.cache / "index.csv").is_file():
        _check_cohort(config.data)
    require_volumes(config, sweep.choice)
    check_table(config, sweep.choice)


def _check_cohort(data: DataConfig) -> None:
    """Refuse a table or `data.classes` that preprocessing would refuse, before it is called for.

    Raises:
        UserError: naming the classes, or what is wrong with the table.
    """
    if not layout_of(data).is_named_in(data) or not (data.classes or data.table):
        return
    try:
        find_scans(data)
    except ConfigError:
        raise
    except UserError:
        if data.table is not None and Path(data.table).is_file():
            raise
        # Of scans that are not there, preprocessing, which comes next, says what is wrong.


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


def require_volumes(config: Config, choice: str) -> None:
    """Refuse a configuration whose cache, or whose external cohort's, is not built yet.

    Args:
        choice: of conf/sweep, that it comes from.

    Raises:
        UserError: naming the command that builds it.
    """
    needed = [(config.cache, replace(config, data=replace(config.data, external=None)))]
    if config.external_cache is not None:
        # Where its scans are is not known here: the command says what to fill in.
        data = DataConfig(name=str(config.data.external), label=config.data.label)
        needed.append((config.external_cache, replace(config, data=data)))
    for cache, wanted in needed:
        if not (cache / "index.csv").is_file():
            raise UserError(
                f"no preprocessed volumes at {cache}; build them: "
                f"{preprocessing_command(wanted, choice)}"
            )


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


def check_table(config: Config, choice: str = "") -> None:
    """Refuse a cache that was built from another table than `data.table`, where that is given.

    The same goes for `data.exclude`, and for what the table says of a subject.

    Args:
        choice: of conf/sweep, that the configuration comes from.

    Raises:
        UserError: naming the command that brings the cache up to date.
    """
    data, cache, build = config.data, config.cache, partial(preprocessing_command, config, choice)
    is_named = layout_of(data).is_named_in(data)
    if not is_named or (data.table is None and data.exclude is None):
        return
    listed = {scan.subject_id: scan for scan in find_scans(data) if not scan.excluded}
    without_volume = read_rejected(cache) or ()
    refused = {scan.subject_id for scan in without_volume if not scan.left_out}
    built = {row.subject_id: row for row in read_index(cache)}
    left_out = {scan.subject_id for scan in without_volume if scan.left_out} & listed.keys()
    if left_out and data.exclude is None:
        raise UserError(
            f"{plural(len(left_out), 'subject')} of {data.table} left out when {cache} was built "
            f"({', '.join(sorted(left_out)[:3])}): say data.exclude=FILE here, too, or write it "
            "into the sweep's file (exclude: FILE, under data); to take them back, "
            f"{build()}"
        )
    table = data.table or data.exclude
    for subjects, here, there in (
        (listed.keys() - built.keys() - refused, table, cache),
        (built.keys() - listed.keys(), cache, table),
    ):
        if subjects:
            some = ", ".join(sorted(subjects)[:3])
            raise UserError(
                f"{plural(len(subjects), 'subject')} in {here} and not in {there} ({some}): the "
                f"volumes are of another table; build them, {build()}, or "
                "give this cohort a data.name of its own"
            )
    changed = [
        f"{field} of {subject} is {ours} there, {theirs} in {cache}"
        for subject, row in built.items()
        for field, ours, theirs in _said_of(listed[subject], row, data.label)
        if ours != theirs
    ]
    if changed:
        raise UserError(
            f"{table} has changed since the volumes were indexed: {listed_words(changed)}; "
            f"{build()} brings the index up to date, and builds no volume "
            "again that is there"
        )


def _said_of(scan: Scan, row: IndexRow, label: str) -> tuple[tuple[str, str, str | None], ...]:
    """What decides folds and scores, by its name: as the table has it, and as the index does."""
    return (
        (label, scan.columns.get(label, ""), row.columns.get(label, "")),
        ("patient_id", scan.patient_id, row.patient_id),
        ("source", scan.source, row.source),
    )


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
