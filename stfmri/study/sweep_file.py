"""sweep.yaml: a sweep as submitted, written once and read by everything that follows."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from stfmri.study.candidates import Candidate
from stfmri.study.config import CHAIN_KEYS, Config
from stfmri.study.errors import UserError
from stfmri.study.expansion import curves_of, seeds_of
from stfmri.study.files import private_dir, read_text, safe_name, write_atomic
from stfmri.study.runs import TRAIN_FRACTION, Run, Sweep, run_part
from stfmri.study.serialise import dump_yaml, from_dict, load_yaml, to_dict
from stfmri.study.words import did_you_mean

SWEEP_FILE = "sweep.yaml"


def sweep_folder(root: Path, name: str) -> Path:
    """`<root>/runs/<name>`, for a name that may stand in a path."""
    return root / "runs" / safe_name(name, "the sweep's name")


def write_sweep(sweep: Sweep) -> None:
    """Write sweep.yaml."""
    runs = [
        {"run": run.name, "model": run.model, "weights": run.weights, "overrides": run.overrides}
        for run in sweep.runs
    ]
    content = {
        "choice": sweep.choice,
        "typed": list(sweep.typed),
        "config": to_dict(sweep.config),
        "baselines": list(sweep.baselines),
        "blind": list(sweep.blind),
        "candidates": [asdict(candidate) for candidate in sweep.candidates],
        "runs": runs,
    }
    private_dir(sweep.folder)
    write_atomic(sweep.folder / SWEEP_FILE, dump_yaml(content))


def load_sweep(folder: Path) -> Sweep:
    """Read a sweep that `write_sweep` wrote.

    Its folder may have been moved, with the whole root, or renamed: the root is where the folder
    lies now, and the sweep is called as the folder.

    Raises:
        UserError: where the folder holds no sweep, or a damaged one.
    """
    path = folder / SWEEP_FILE
    if not path.is_file():
        raise UserError(_no_sweep(folder))
    try:
        content = load_yaml(read_text(path), str(path))
        _refuse_earlier(content["config"], folder)
        config = from_dict(Config, content["config"], file=str(path))
        # Not resolved: runs/ may be a link to another disk, and data/ lies beside the link.
        config = replace(
            config,
            root=str(folder.absolute().parent.parent),
            sweep=replace(config.sweep, name=folder.name),
        )
        curves = curves_of(config)
        runs = [_run(config, item, curves) for item in content["runs"]]
        # A sweep of an earlier version has no baselines.
        baselines = tuple(content.get("baselines", ()))
        blind = tuple(content.get("blind", ()))
        candidates = tuple(Candidate(**item) for item in content.get("candidates", ()))
        typed = tuple(content["typed"])
        _require_every_run(config, runs)
        return Sweep(config, runs, content["choice"], typed, baselines, blind, candidates)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({error!r}); restore it, or use another --name"
        ) from error


def _require_every_run(config: Config, runs: Sequence[Run]) -> None:
    """Refuse a list of runs that is not what its own configuration expands to.

    Raises:
        ValueError: saying how many there are.
    """
    sweep = config.sweep
    variants = len(sweep.models) * len(sweep.weights)
    for values in sweep.axes.values():
        variants *= len(values)
    folds = sweep.folds or tuple(range(config.split.folds))
    trainings = {(run.seed, run.fold) for run in runs}
    wanted = set(itertools.product(seeds_of(config), folds))
    names = {run.name for run in runs}
    expected = variants * len(wanted)
    if trainings != wanted or len(names) != expected or len(runs) != expected:
        raise ValueError(
            f"lists {len(runs)} runs of the folds {sorted({run.fold for run in runs})}, expected "
            f"{expected} of the folds {sorted(folds)}"
        )


def _refuse_earlier(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse a sweep that says nothing of settings which decide its voxels: they were others."""
    unknown = [
        f"{group}.{key}"
        for group, keys in CHAIN_KEYS.items()
        for key in keys
        if key not in config.get(group, {})
    ]
    if unknown:
        raise UserError(
            f"{folder} was submitted with an earlier version, whose volumes this one does not read "
            f"(it does not say {unknown[0]}): use that version, kept in {folder}/code-…, or submit "
            "the sweep again under another --name"
        )


def _run(config: Config, item: Mapping[str, Any], curves: Mapping[str, str]) -> Run:
    before, _, fold = item["run"].rpartition("/fold")
    variant, several, number = before.partition("/seed")
    seed = int(number) if several else None
    parent = config.sweep_folder / safe_name(variant, "a variant's name")
    folder = parent / run_part(seed, int(fold))
    overrides = dict(item["overrides"])
    return Run(
        variant,
        item["model"],
        item["weights"],
        int(fold),
        folder,
        overrides,
        seed=seed,
        train_fraction=overrides.get(TRAIN_FRACTION, config.split.train_fraction),
        curve=curves.get(variant, ""),
    )


def options_of(name: str, root: Path) -> str:
    """The options that name a sweep here, for a command that is to be typed."""
    where = "" if root == Path.cwd() else f" --root {shlex.quote(str(root))}"
    return f"--sweep {name}{where}"


def _no_sweep(folder: Path) -> str:
    others = sorted(path.parent.name for path in folder.parent.glob(f"*/{SWEEP_FILE}"))
    known = f"there are: {', '.join(others)}" if others else "there is none yet"
    if meant := did_you_mean(folder.name, others):
        return f"no sweep at {folder}; {known} (in {folder.parent}){meant}"
    # Another folder may have been meant, so it is named where it is the current one.
    elsewhere = "" if others else " (--root DIR looks in another folder)"
    return (
        f"no sweep at {folder}; {known} (in {folder.parent}){elsewhere}. "
        f"Submit it first: python launch/submit.py {options_of(folder.name, folder.parent.parent)}"
    )
