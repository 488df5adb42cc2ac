"""What the phantom may draw: `conf/phantom.yaml` as frozen dataclasses.

The comment above each key in the YAML file gives its meaning and unit; this module only checks.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stfmri.study.errors import ConfigError
from stfmri.study.files import read_text
from stfmri.study.serialise import load_yaml

DEFAULT_PATH = Path(__file__).resolve().parents[2] / "conf" / "phantom.yaml"

Range = tuple[float, float]
Frequencies = dict[str, float]


@dataclass(frozen=True)
class Anatomy:
    """How one brain differs from the template."""

    scale: Range
    axis_scale: Range
    rotation_deg: Range
    shift_mm: Range
    broad_warp_mm: Range
    fine_warp_mm: Range
    csf_threshold: Range
    sulcal_variation: Range
    folding: Range
    csf_sharpness: Range
    grey_white_sharpness: Range


@dataclass(frozen=True)
class Appearance:
    """Intensities of one MR sequence, relative to white matter."""

    grey: Range
    csf: Range
    vessel_intensity: Range
    sinus: Range


@dataclass(frozen=True)
class Sequence(Appearance):
    """A sequence of which some class's first contrast is made; it decides the vessels' number."""

    vessel_density: Range


@dataclass(frozen=True)
class HeadTissues:
    """Intensity of what surrounds the brain."""

    bone: Range
    diploe: Range
    fat: Range
    muscle: Range
    skin: Range


@dataclass(frozen=True)
class Head(HeadTissues):
    """The same on T1, and the thickness (mm) of its layers."""

    csf_mm: Range
    skull_mm: Range
    scalp_mm: Range


@dataclass(frozen=True)
class Acquisition:
    """Shading, noise, blur and scale of the scanner."""

    bias: Range
    noise: Range
    blur_mm: Range
    gamma: Range
    white_value: Range
    signature: float


@dataclass(frozen=True)
class Lesion:
    """Size and shape, the same for both grades."""

    diameter_mm: Range
    axis_ratio: Range
    irregularity: Range
    mass_effect: Range
    depth: float


@dataclass(frozen=True)
class LowGrade:
    """Look of a low-grade glioma."""

    intensity: Range
    edge_mm: Range
    strength: Range
    texture: Range


@dataclass(frozen=True)
class HighGrade:
    """Look of a high-grade glioma."""

    rim_mm: Range
    rim_intensity: Range
    rim_completeness: Range
    core_intensity: Range
    texture: Range
    oedema_mm: Range
    oedema_intensity: Range


@dataclass(frozen=True)
class Centres:
    """Relative frequency of each contributing centre or hospital."""

    shared: Frequencies
    hgg: Frequencies
    lgg: Frequencies
    healthy: Frequencies


@dataclass(frozen=True)
class LesionLook:
    """Intensity of a lesion's parts in one contrast."""

    low_grade: Range
    low_grade_inner: Range
    oedema: Range
    rim: Range
    core: Range


@dataclass(frozen=True)
class LesionLooks:
    """The lesions' parts in each contrast but T1ce, which the grades' own sections hold."""

    t1: LesionLook
    t2: LesionLook
    flair: LesionLook


@dataclass(frozen=True)
class Further:
    """What only contrasts asked for by name need."""

    t2: Appearance
    flair: Appearance
    head_t2: HeadTissues
    mismatch: Range
    infiltration_mm: Range
    lesions: LesionLooks


@dataclass(frozen=True)
class PhantomConfig:
    """All of `conf/phantom.yaml`."""

    seed: int
    confounding: float
    anatomy: Anatomy
    t1: Sequence
    t1ce: Sequence
    head: Head
    acquisition: Acquisition
    lesion: Lesion
    lgg: LowGrade
    hgg: HighGrade
    centres: Centres
    further: Further


def load(path: Path = DEFAULT_PATH) -> PhantomConfig:
    """Read and check a phantom configuration.

    Raises:
        ConfigError: if the file is missing, is not YAML, lacks a key, has one too many, or holds
            a value of the wrong kind; the message names the key and the file.
    """
    try:
        content = load_yaml(read_text(path), str(path))
    except FileNotFoundError as error:
        raise ConfigError(
            f"expected a phantom configuration at {path}; there is no file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"expected UTF-8 text in {path}; found {error}") from error
    config = _build(PhantomConfig, content, "", path)
    if not 0 <= config.confounding <= 1:
        raise ConfigError(f"confounding in {path} must be 0 to 1; found {config.confounding}")
    return config


def _build(kind: Any, content: Any, prefix: str, path: Path) -> Any:
    """Make the dataclass `kind` from a mapping, section by section."""
    section = prefix.rstrip(".") or "the file"
    if not isinstance(content, dict):
        raise ConfigError(f"expected keys and values for {section} in {path}; found {content!r}")
    known = [field.name for field in dataclasses.fields(kind)]
    for key in content:
        if key not in known:
            raise ConfigError(
                f"unknown key {prefix}{key} in {path}; {section} knows {', '.join(known)}"
            )
    for key in known:
        if key not in content:
            raise ConfigError(f"{path} lacks the key {prefix}{key}; add it as in {DEFAULT_PATH}")
    types = typing.get_type_hints(kind)
    return kind(
        **{key: _value(types[key], content[key], prefix + key, path) for key in known},
    )


def _value(kind: Any, value: Any, key: str, path: Path) -> Any:
    """Check one value against the kind its field declares."""
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, f"{key}.", path)
    if kind == Range:
        return _range(value, key, path)
    if kind == Frequencies:
        return _frequencies(value, key, path)
    wanted = int if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise ConfigError(f"{key} in {path} must be a number; found {value!r}")
    return kind(value)


def _range(value: Any, key: str, path: Path) -> Range:
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)):
        raise ConfigError(f"{key} in {path} must be [lowest, highest]; found {value!r}")
    low, high = float(value[0]), float(value[1])
    if low > high:
        raise ConfigError(f"{key} in {path} must not fall; found [{low}, {high}]")
    return low, high


def _frequencies(value: Any, key: str, path: Path) -> Frequencies:
    good = isinstance(value, dict) and value and all(map(_is_number, value.values()))
    if not good or min(value.values()) < 0 or sum(value.values()) <= 0:
        raise ConfigError(f"{key} in {path} must give each centre a frequency; found {value!r}")
    for name in value:
        if not str(name).isalnum():
            raise ConfigError(f"{key} in {path}: a centre is letters and digits; found {name!r}")
    return {str(name): float(frequency) for name, frequency in value.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
