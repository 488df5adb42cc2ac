"""Which finished runs answer: those of a run, of a variant, or of a sweep's leading variant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stfmri.study import config as configuration
from stfmri.study.errors import UserError
from stfmri.study.files import absolute
from stfmri.study.labels import variant_label
from stfmri.study.naming import CONFIG_FILE, MODEL_FILE
from stfmri.study.results import SUMMARY_FILE, are_current, read_leader
from stfmri.study.runs import Sweep
from stfmri.study.sweep_file import SWEEP_FILE, load_sweep
from stfmri.study.words import did_you_mean, plural

ENSEMBLE = "+ensemble"  # what the mean over a variant's seeds is called in the results


@dataclass(frozen=True)
class Chosen:
    """The runs whose probabilities are averaged.

    Attributes:
        name: of the variants they belong to, as tables call them, such as `SFCN`.
        runs: folders, each once.
        notes: what a reader should know of the choice, a sentence each.
    """

    name: str
    runs: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each run, as short as tells them apart: `SFCN, fold 0`."""
        short = [_name_of(run) for run in self.runs]
        if len(set(short)) == len(short):
            return tuple(short)
        return tuple(str(run) for run in self.runs)


def choose(folders: Sequence[Path]) -> Chosen:
    """The runs in all of the folders together.

    Args:
        folders: runs, variants and sweeps.

    Raises:
        UserError: where one is none of these, or a sweep was not collected yet.
    """
    runs: dict[Path, None] = {}
    names: dict[str, None] = {}
    notes: list[str] = []
    for given in folders:
        folder = absolute(given).resolve()
        _require_folder(given, folder)
        if (folder / SWEEP_FILE).is_file():
            folder, found = _leading_variant(folder)
            notes += found
        own = [folder] if (folder / CONFIG_FILE).is_file() else list(_runs_of_variant(folder))
        if not own:
            raise UserError(
                f"--run {given} must be a run (runs/<sweep>/<variant>/fold<k>), a variant "
                f"(runs/<sweep>/<variant>) or a sweep (runs/<sweep>); found no {CONFIG_FILE} there"
            )
        for run in own:
            if not (run / MODEL_FILE).is_file():
                raise UserError(
                    f"no model at {run / 'model.pt'}: the run has not finished, or is a "
                    "baseline's; see launch/status.py, or name the finished runs with several --run"
                )
            runs[run] = None
            names[_label_of(run)] = None
    return Chosen(" and ".join(names), tuple(runs), tuple(notes))


def _require_folder(given: Path, folder: Path) -> None:
    """Refuse a folder that is not there, naming the one that may be meant.

    Raises:
        UserError: with the nearest name in the deepest folder that is there.
    """
    if folder.exists():
        return
    missing = next(part for part in (*reversed(folder.parents), folder) if not part.exists())
    beside = [path.name for path in missing.parent.iterdir() if path.is_dir()]
    raise UserError(
        f"--run {given}: there is no folder {missing}{did_you_mean(missing.name, beside)}"
    )


def default_folder(table: Path) -> str:
    """Where an external test on a table is written."""
    return f"external-{table.stem}"


def _runs_of_variant(folder: Path) -> Iterator[Path]:
    """Every run of a variant, finished or not: submitting writes its configuration."""
    found = [*folder.glob(f"fold*/{CONFIG_FILE}"), *folder.glob(f"seed*/fold*/{CONFIG_FILE}")]
    yield from sorted(file.parent for file in found)


def _leading_variant(sweep: Path) -> tuple[Path, list[str]]:
    """The folder of the variant that the sweep's results put first, and notes on it."""
    results = sweep.parent.parent / "results" / sweep.name
    submitted = load_sweep(sweep)
    if not (results / SUMMARY_FILE).is_file():
        _refuse_unfinished(submitted)
    leader = read_leader(results)
    if leader.variant is None:
        _refuse_unfinished(submitted)
        raise UserError(
            f"{results} names no leading variant; collect the sweep again, or name a variant with "
            "--run"
        )
    notes = [f"the leading variant of the sweep {sweep.name} is {leader.variant} ({results})"]
    if not are_current(submitted):
        notes.append(
            f"the results of {sweep.name} were not made from the predictions that it has now: "
            "collect it again, as another variant may lead"
        )
    if not leader.is_complete:
        notes.append(
            f"the results of {sweep.name} are incomplete: another variant may lead once all of its "
            "runs have finished"
        )
    return sweep / leader.variant.removesuffix(ENSEMBLE), notes


def _refuse_unfinished(sweep: Sweep) -> None:
    """Refuse a sweep without results while some of its runs have still to finish.

    Raises:
        UserError: saying how many, and how to see them.
    """
    left = sum(not run.is_done() for run in sweep.all_runs)
    if left:
        raise UserError(
            f"{left} of {plural(len(sweep.all_runs), 'run')} of {sweep.folder} have not finished, "
            "and without its results no variant leads; see them with python launch/status.py "
            f"--sweep {sweep.name}, or name finished runs with --run"
        )


def _label_of(run: Path) -> str:
    """What tables call the run's variant; its folder's name where the configuration is damaged."""
    inner = run.parent
    variant = inner.parent.name if inner.name.startswith("seed") else inner.name
    try:
        model = configuration.load(run / CONFIG_FILE).model
    except (UserError, OSError):
        return variant  # whoever loads the network says what is wrong
    return variant_label(variant, model.name, model.weights)


def _name_of(run: Path) -> str:
    """Such as `SFCN, seed 1, fold 0`."""
    parts = run.parts[-2:] if run.parent.name.startswith("seed") else run.parts[-1:]
    places = [re.sub(r"(?<=[a-z])(?=[0-9])", " ", part, count=1) for part in parts]
    return ", ".join([_label_of(run), *places])
