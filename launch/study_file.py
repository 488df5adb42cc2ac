"""The sweep file of a new study: settings that fit a cohort and a machine, as commented YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from launch.cautions import accuracy_margin
from preprocessing.cohorts.columns import Column
from slurm.errors import ClusterError
from slurm.gpus import local_gpus
from slurm.queue import alive, has_slurm
from stfmri.study.compose import PATH_KEYS
from stfmri.study.config import Config
from stfmri.study.config.data import DataConfig
from stfmri.study.serialise import to_dict
from stfmri.study.table_columns import SEX_AND_AGE
from stfmri.study.words import plural

if TYPE_CHECKING:
    from preprocessing.cohorts.survey import Survey

BASE = "compare"  # the sweep that a study of one's own starts from
MARK = "# Written by launch/new.py"
MOST_COVARIATES = 6
OF_THE_SCAN = ("stripped",)  # columns that say how it was prepared, and nothing of the patient
LEAST_IN_GROUP = 5  # subjects, below which a group has no score of its own
# Patients up to which every subject is tested so many times: the fewer there are, the more a score
# depends on how they were divided.
REPEATS = ((100, 5), (300, 3), (1000, 2))
MOST_REPEATS_ON_A_CPU = 2
# Without a GPU the small network alone: a ResNet takes ten times its arithmetic and more.
MODELS_ON_A_CPU = ("sfcn",)
DATA_PATHS = tuple(key.removeprefix("data.") for key in PATH_KEYS if key.startswith("data."))
# Keys of `data` that the file has in any case.
NAMED = ("name", "label", "contrasts", *DATA_PATHS)
# What YAML and Hydra read as the text that it is.
PLAIN = re.compile(r"(?!(?:true|false|null|yes|no|on|off|y|n|inf|nan)$)[A-Za-z_][\w.+-]*", re.I)


@dataclass(frozen=True)
class Place:
    """Where a study will be trained.

    Attributes:
        text: in a few words.
        fast: whether it has GPUs, and so room for the full grid.
        cluster: a choice of conf/cluster, where the usual one would not do.
    """

    text: str
    fast: bool
    cluster: str = ""


@dataclass(frozen=True)
class Settings:
    """What was chosen for the cohort and this machine.

    Attributes:
        data: key of `data` → value, for the keys that are chosen by looking at the cohort.
        typed: the same for other keys that the user gave.
        further: columns that might serve as covariates, too.
        preprocessing: a choice of conf/preprocessing.
        machine: where it will be trained.
        folds, repeats: of the cross-validation.
        models: networks.
        all_models: what would be trained with GPUs.
    """

    data: Mapping[str, Any]
    typed: Mapping[str, Any]
    further: tuple[str, ...]
    preprocessing: str
    machine: Place
    folds: int
    repeats: int
    models: tuple[str, ...]
    all_models: tuple[str, ...]


def here() -> Place:
    """Whether a cluster answers, or this machine has a GPU."""
    cluster = ""
    if has_slurm():
        try:
            alive()
            return Place("SLURM answers here", fast=True)
        except ClusterError:
            cluster = "local"  # its commands are installed, but there is no cluster
    gpus = local_gpus()
    if gpus:
        return Place(f"{plural(len(gpus), 'GPU')} here", fast=True, cluster=cluster)
    return Place("no GPU and no SLURM here", fast=False, cluster=cluster)


def settings_for(
    found: Survey, asked: DataConfig, base: Config, place: Place, typed: Sequence[str] = ()
) -> Settings:
    """Choose settings.

    Args:
        asked: where the cohort is.
        base: the sweep that the study starts from.
        typed: the keys of `data` that the user gave, and which therefore stand.
    """
    covariates, further = _covariates(found)
    data: dict[str, Any] = {
        "classes": list(found.classes),
        "covariates": [column.name for column in covariates],
        "subgroups": _subgroups(found),
        "stripped": asked.stripped or _all_look_stripped(found),
    }
    given = {name: to_dict(asked)[name] for name in typed if name not in NAMED}
    most = next((times for size, times in REPEATS if found.patients < size), 1)
    return Settings(
        data={name: given.pop(name, value) for name, value in data.items()},
        typed=given,
        further=tuple(column.name for column in further),
        preprocessing="mm2_tight" if place.fast else "mm4_tight",
        machine=place,
        folds=max(2, min(5, *found.classes.values())),
        repeats=most if place.fast else min(most, MOST_REPEATS_ON_A_CPU),
        models=base.sweep.models if place.fast else MODELS_ON_A_CPU,
        all_models=base.sweep.models,
    )


def sweep_text(name: str, found: Survey, data: DataConfig, settings: Settings, when: str) -> str:
    """The YAML file."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # YAML, and no HTML
    )
    environment.filters["yaml"] = yaml_value
    classes = ", ".join(f"{each} {count}" for each, count in found.classes.items())
    return environment.get_template("study.yaml.j2").render(
        name=name,
        base=BASE,
        mark=MARK,
        when=when,
        data=data,
        chosen=settings,
        found=found,
        classes=classes,
        patients=plural(found.patients, "patient"),
        runs=len(settings.models) * settings.folds * settings.repeats,
        margin=f"{accuracy_margin(found.patients):.2f}",
        paths=_paths(data),
        all_contrasts=list(found.contrasts),
    )


def overrides_of(data: DataConfig, settings: Settings) -> list[str]:
    """The same settings for a command line, where no file can be written."""
    values = {
        "name": data.name,
        "label": data.label,
        "contrasts": list(data.contrasts),
        **settings.data,
        **settings.typed,
    }
    return [
        f"data={data.kind}",
        *(f"data.{key}={path}" for key, path in _paths(data).items()),
        *(f"data.{key}={_hydra(value)}" for key, value in values.items() if value),
        f"preprocessing={settings.preprocessing}",
        f"split.n={settings.folds}",
        f"split.repeats={settings.repeats}",
        f"sweep.models={_hydra(list(settings.models))}",
        *([f"cluster={settings.machine.cluster}"] if settings.machine.cluster else []),
    ]


def _paths(data: DataConfig) -> dict[str, str]:
    """The keys of `data` that say where the cohort is."""
    names = [
        name for group, _, name in (key.partition(".") for key in PATH_KEYS) if group == "data"
    ]
    return {name: getattr(data, name) for name in names if getattr(data, name)}


def yaml_value(value: object) -> str:
    """A value as YAML has it on one line; Hydra takes nothing in it for a reference."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(yaml_value, value))}]"
    if isinstance(value, str) and not PLAIN.fullmatch(value):
        return json.dumps(value.replace("${", "\\${"), ensure_ascii=False)
    return value if isinstance(value, str) else json.dumps(value)


def _hydra(value: object) -> str:
    """A value in Hydra's grammar of overrides."""
    if isinstance(value, list):
        return f"[{','.join(map(_hydra, value))}]"
    if isinstance(value, str) and not PLAIN.fullmatch(value):
        escaped = value.replace("'", "\\'")
        return f"'{escaped}'"
    return yaml_value(value)


def _covariates(found: Survey) -> tuple[list[Column], list[Column]]:
    """Those to take, and those that might be taken: age and sex first, and not too many."""
    able = [c for c in found.columns if not c.is_copy and c.name not in OF_THE_SCAN]
    able.sort(key=lambda column: SEX_AND_AGE.fullmatch(column.name) is None)
    usual = [column for column in able if SEX_AND_AGE.fullmatch(column.name)]
    taken = able if len(able) <= MOST_COVARIATES else usual
    return taken, [column for column in able if column not in taken]


def _subgroups(found: Survey) -> list[str]:
    """Columns of few values, most of which have enough subjects; age and sex come by themselves."""
    return [
        column.name
        for column in found.columns
        if column.groups
        and not column.is_copy
        and column.name not in OF_THE_SCAN
        and sum(count >= LEAST_IN_GROUP for count in column.groups.values()) > 1
    ][:MOST_COVARIATES]


def _all_look_stripped(found: Survey) -> bool:
    """Whether scans that are not said to be stripped show nothing but the brain."""
    read: Sequence[bool] = [scan.looks_stripped for scan in found.looked if not scan.fault]
    return not found.masks and not found.stripped and bool(read) and all(read)
