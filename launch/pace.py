"""How fast networks trained in other sweeps, for an estimate before the first epoch of this one."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stfmri.study import config as configuration
from stfmri.study import history
from stfmri.study.config import Config
from stfmri.study.errors import UserError
from stfmri.study.files import NotRegularFileError, read_text
from stfmri.study.naming import CONFIG_FILE
from stfmri.study.sweep_file import SWEEP_FILE

MOST_SWEEPS = 20  # the newest, that are looked through


@dataclass(frozen=True)
class Pace:
    """How fast a variant of an earlier sweep trained.

    Attributes:
        volume_s: seconds a training volume and epoch.
        variant: `<sweep>/<variant>`.
        device: on which it trained; empty where it does not say.
    """

    volume_s: float
    variant: str
    device: str = ""


def earlier_pace(config: Config) -> Pace | None:
    """The pace of the newest other sweep that trained the same network on the same volumes."""
    own = config.sweep_folder
    sweeps = (file.parent for file in own.parent.glob(f"*/{SWEEP_FILE}") if file.parent != own)
    newest = sorted(sweeps, key=lambda folder: -(folder / SWEEP_FILE).stat().st_mtime)
    return next(filter(None, (_pace_in(folder, config) for folder in newest[:MOST_SWEEPS])), None)


def _pace_in(sweep: Path, config: Config) -> Pace | None:
    for variant in sorted(path for path in sweep.iterdir() if path.is_dir()):
        runs = list(_trained(variant))
        if runs and _is_alike(runs[0], config):
            seconds = [pace for run in runs if (pace := _volume_s(run)) is not None]
            if seconds:
                name = f"{sweep.name}/{variant.name}"
                return Pace(statistics.median(seconds), name, _device(runs[0]))
    return None


def _trained(variant: Path) -> Iterator[Path]:
    """The runs of a variant that have finished an epoch."""
    for pattern in ("fold*", "seed*/fold*"):
        yield from sorted(f.parent for f in variant.glob(f"{pattern}/{history.FILE_NAME}"))


def _is_alike(run: Path, config: Config) -> bool:
    """Whether the run trained the network of `config` on its cache."""
    try:
        other = configuration.load(run / CONFIG_FILE)
    except (UserError, OSError):
        return False  # of another version, or no run
    names = ("name", "stem", "slice_axis")
    same = all(getattr(other.model, name) == getattr(config.model, name) for name in names)
    return same and other.cache.name == config.cache.name


def _volume_s(run: Path) -> float | None:
    """Seconds a volume, of the epochs that it has finished."""
    found = history.read(run / history.FILE_NAME)
    if not {"seconds", "samples_per_s"} <= found.keys():
        return None
    rows = list(zip(found["seconds"], found["samples_per_s"], strict=True))
    volumes = sum(seconds * rate for seconds, rate in rows)
    return sum(found["seconds"]) / volumes if volumes > 0 else None


def _device(run: Path) -> str:
    """What the run says that it trained on; "" before its end."""
    try:
        return str(json.loads(read_text(run / "provenance.json"))["device"])
    except (OSError, ValueError, KeyError, TypeError, NotRegularFileError):
        return ""
