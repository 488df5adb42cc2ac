"""Which scans a study is made of, and how they become volumes."""

from __future__ import annotations

from dataclasses import dataclass

from stfmri.study.config.checks import at_least, one_of
from stfmri.study.errors import ConfigError
from stfmri.study.files import safe_name

SCAN = "scan"  # the one channel of a cohort that names no contrasts


@dataclass(frozen=True)
class DataConfig:
    """Which scans, and which column is the class."""

    kind: str = "table"  # a layout of preprocessing/cohorts
    name: str = "cohort"  # first part of the cache folder's name
    label: str = "label"  # the column of the cohort table that holds the class
    classes: tuple[str, ...] = ()  # in the order of the tables; empty: as found, sorted
    contrasts: tuple[str, ...] = ()  # channels of a volume, in order; empty: the cohort's one scan
    missing: str = "reject"  # a subject without one of the contrasts: reject | zeros
    exclude: str | None = None  # CSV of subjects that are left out, with the reason
    brats: str | None = None  # kind=brats_ixi: the folder that holds HGG and LGG
    ixi: str | None = None  # kind=brats_ixi: the folder that holds IXI*-T1.nii(.gz)
    ixi_count: int = 259  # IXI scans to draw; 0 takes all of them
    ixi_seed: int = 0
    table: str | None = None  # the table of scans, or of the labels that a layout lacks
    stripped: bool = False  # kind=table: whether scans are brain-extracted, where no column says
    covariates: tuple[str, ...] = ()  # columns that the baseline `covariates` learns from
    subgroups: tuple[str, ...] = ()  # columns whose groups the report scores one by one
    external: str | None = None  # split=external: data.name of the cohort that is tested
    folder: str | None = None  # the folder of every layout but the table

    def __post_init__(self) -> None:
        one_of("data.missing", self.missing, ("reject", "zeros"))
        safe_name(self.name, "data.name")
        for name in self.contrasts:
            safe_name(name, "data.contrasts")
        if len(set(self.contrasts)) != len(self.contrasts):
            raise ConfigError(f"data.contrasts names a contrast twice: {list(self.contrasts)}")
        if self.external is not None:
            safe_name(self.external, "data.external")
        if len(set(self.classes)) != len(self.classes):
            raise ConfigError(f"data.classes names a class twice: {list(self.classes)}")
        at_least("data.ixi_count", self.ixi_count, 0)

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of a volume's channels, in order."""
        return self.contrasts or (SCAN,)


@dataclass(frozen=True)
class PreprocessingConfig:
    """The chain from a scan to a volume of the cache."""

    spacing_mm: float = 2.0  # isotropic
    field_mm: tuple[float, float, float] = (240.0, 240.0, 156.0)  # right, anterior, superior
    percentiles: tuple[float, float] = (0.5, 99.5)  # over the brain; become 0 and 1
    skullstrip: str = "deepbet"  # an extractor of preprocessing/extraction
    bias: str = "none"  # correction of the coil's shading: none | n4
    register: str = "none"  # into the space of a template: none | mni
    antialias: bool = True  # low-pass before a coarser grid
    shard_volumes: int = 64  # volumes a shard holds at most
    jobs: int = 0  # worker processes; 0: one a core

    def __post_init__(self) -> None:
        one_of("preprocessing.bias", self.bias, ("none", "n4"))
        one_of("preprocessing.register", self.register, ("none", "mni"))
        if not 0.5 <= self.spacing_mm <= 20:
            raise ConfigError(
                f"preprocessing.spacing_mm must lie in 0.5–20 mm, found {self.spacing_mm}"
            )
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ConfigError(
                f"preprocessing.percentiles must rise within 0–100, found {[low, high]}"
            )
        if min(self.field_mm) < self.spacing_mm or max(self.field_mm) > 1000:
            raise ConfigError(
                "preprocessing.field_mm must hold a voxel each way and span at most 1000 mm, found "
                f"{list(self.field_mm)}"
            )
        at_least("preprocessing.shard_volumes", self.shard_volumes, 1)
        at_least("preprocessing.jobs", self.jobs, 0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of a volume along (superior, anterior, right), as stored: (D, H, W)."""
        right, anterior, superior = (round(mm / self.spacing_mm) for mm in self.field_mm)
        return superior, anterior, right
