"""The whole configuration: plain dataclasses, checked when they are made, kept as YAML.

Hydra composes a configuration (`stfmri.study.compose`); everything else sees these classes alone,
so a run can be trained from its frozen `config.yaml` where Hydra is not installed. Each module
here holds the groups of keys of one subject.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stfmri.study.config.data import DataConfig, PreprocessingConfig
from stfmri.study.config.split import SplitConfig
from stfmri.study.config.sweep import ClusterConfig, ReferenceConfig, SweepConfig
from stfmri.study.config.training import AugmentConfig, CheckpointConfig, ModelConfig, TrainConfig
from stfmri.study.errors import ConfigError
from stfmri.study.files import read_text, safe_name, write_atomic
from stfmri.study.ready_weights import READY_WEIGHTS
from stfmri.study.serialise import dump_yaml, from_dict, load_yaml, to_dict
from stfmri.study.splits import SPLITS

# Raised when the same settings would make other voxels: caches of both are kept apart.
CHAIN_VERSION = 2
# The settings that decide a stored voxel, by group; the others decide how it is made.
CHAIN_KEYS = {
    "data": ("contrasts", "missing"),
    "preprocessing": (
        "spacing_mm",
        "field_mm",
        "percentiles",
        "skullstrip",
        "bias",
        "register",
        "antialias",
    ),
}


@dataclass(frozen=True)
class Config:
    """Everything that one run, or one preprocessing, depends on."""

    root: str = "."  # holds data/, runs/ and results/
    data: DataConfig = field(default_factory=DataConfig)
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)

    def __post_init__(self) -> None:
        model = self.model
        ready = READY_WEIGHTS.get(model.weights)
        is_fresh = ready and not ready.keeps_first_layer and model.stem_init == "fresh"
        if self.train.freeze and is_fresh:
            raise ConfigError(
                f"train.freeze would keep the newly drawn stem as it is; with {model.weights} "
                "weights it needs model.stem_init=rgb_sum"
            )

    @property
    def chain(self) -> dict[str, Any]:
        """Every setting that a stored voxel depends on, by its key."""
        settings: dict[str, Any] = {"version": CHAIN_VERSION}
        for group, keys in CHAIN_KEYS.items():
            values = to_dict(getattr(self, group))
            settings |= {f"{group}.{key}": _number(values[key]) for key in keys}
        return settings

    @property
    def cache(self) -> Path:
        """The folder of shards: one for each cohort and each chain that makes volumes of it."""
        content = json.dumps(self.chain, sort_keys=True).encode()
        digest = hashlib.sha256(content).hexdigest()[:8]
        name = f"{self.data.name}-{self.preprocessing.spacing_mm:g}mm-{digest}"
        return Path(self.root) / "data" / "cache" / name

    @property
    def external_cache(self) -> Path | None:
        """The folder of shards that are tested alone; None where the split needs no other cohort.

        Raises:
            ConfigError: where the split needs another cohort and none is named.
        """
        if not SPLITS[self.split.kind].is_external:
            return None
        name = self.data.external
        if not name or name == self.data.name:
            raise ConfigError(
                f"split={self.split.kind} needs data.external=NAME, the data.name of another "
                f"cohort than {self.data.name}; found {name}"
            )
        return replace(self, data=replace(self.data, name=name)).cache

    @property
    def split_file(self) -> Path:
        """Where the drawn folds are written, once."""
        split = self.split
        label = safe_name(self.data.label, "data.label")
        tag = SPLITS[split.kind].tag(self)
        # Names of files from before the choice was there stay.
        apart = "-apart" if split.near_duplicates == "apart" else ""
        return self.cache / "splits" / f"{split.kind}-{label}{tag}-{split.seed}{apart}.json"

    @property
    def sweep_folder(self) -> Path:
        """The folder of the sweep's runs, of its jobs and of its frozen code."""
        return Path(self.root) / "runs" / self.sweep.name

    @property
    def results_folder(self) -> Path:
        """Tables, figures and report of the sweep."""
        return Path(self.root) / "results" / self.sweep.name


def _number(value: Any) -> Any:
    """Whole numbers as the others: 2 mm are 2.0 mm."""
    if isinstance(value, list):
        return [_number(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def save(config: Config, path: Path) -> None:
    """Write the whole configuration as YAML."""
    write_atomic(path, dump_yaml(to_dict(config)))


def load(path: Path) -> Config:
    """Read a configuration that `save` wrote.

    Raises:
        ConfigError: where the file is missing, is no YAML, or has an unknown key or a bad value.
    """
    try:
        text = read_text(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(
            f"no configuration at {path}; a run's own is runs/<sweep>/<variant>/fold<k>/config.yaml"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} must be UTF-8 text: {error}") from error
    values = load_yaml(text, str(path))
    return from_dict(Config, values, file=str(path))
