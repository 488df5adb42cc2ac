"""One pre-training as it was asked for, and the file that keeps it. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stfmri.study import pretrained
from stfmri.study.config import Config
from stfmri.study.errors import UserError
from stfmri.study.files import private_dir, read_text, write_atomic
from stfmri.study.overrides import flatten
from stfmri.study.serialise import dump_yaml, load_yaml
from stfmri.study.words import listed

FILE_NAME = "request.yaml"
# Settings that decide where and how fast, but not what is learned.
ASIDE = (
    *("root", "cluster.", "sweep.", "reference.", "checkpoint."),
    *("train.threads", "train.workers", "train.resident_share", "train.eval_batch_size"),
)


@dataclass(frozen=True)
class Request:
    """What to learn, of whom, and how.

    Attributes:
        config: composed for the sweep that the weights are for; its split is complete.
        name: of the folder in data/pretrained.
        task: a name in `tasks.TASKS`.
        label: the column to learn; empty where the task has none.
        bins: quantile classes of a column of numbers.
        fold: whose training subjects alone are seen; None for the whole cohort.
        licence: of the data, for the card.
    """

    config: Config
    name: str
    task: str
    label: str = ""
    bins: int = 5
    fold: int | None = None
    licence: str = ""

    @property
    def folder(self) -> Path:
        """Where the weights, their card and the checkpoints lie."""
        return pretrained.folder_of(Path(self.config.root), self.name, self.fold)

    @property
    def values(self) -> dict[str, Any]:
        """Everything that decides what is learned, by its key."""
        own = {f"--{key}": value for key, value in asdict(self).items() if key != "config"}
        own = {key: value for key, value in own.items() if key not in ("--name", "--licence")}
        chosen = flatten(self.config)
        return own | {key: value for key, value in chosen.items() if not key.startswith(ASIDE)}


def keep(request: Request) -> None:
    """Write the request, under whose name nothing else may be begun from now on."""
    write_atomic(private_dir(request.folder) / FILE_NAME, dump_yaml(request.values))


def require_same(request: Request) -> None:
    """Refuse a request where another one was begun under its name.

    Raises:
        UserError: naming what differs.
    """
    file = request.folder / FILE_NAME
    if not file.is_file():
        return
    before = load_yaml(read_text(file), str(file)) or {}
    # As YAML has them, in which a tuple is a list.
    now = load_yaml(dump_yaml(request.values), str(file))
    differing = [
        f"{key} was {before.get(key)}, now {now.get(key)}"
        for key in {**before, **now}
        if before.get(key) != now.get(key)
    ]
    if differing:
        raise UserError(
            f"{request.folder} was begun with other values: {listed(differing, 3)}. Leave these "
            "out to go on with it, or choose another --name"
        )
