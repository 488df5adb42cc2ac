"""Preprocessing in words, from the configurations of a sweep's variants and what a shard recorded.

Every setting that a voxel depends on has a phrase here, or is printed as `key = value`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stfmri.evidence.methods.settings import Phrase, Settings
from stfmri.evidence.methods.study import Study
from stfmri.evidence.methods.wording import NOT_RECORDED, capital, distinct
from stfmri.study.config.data import PreprocessingConfig
from stfmri.study.words import enumerated, plural

TRUE = ("true", "yes", "1")
# By the value of the setting; of one that is not listed, the value itself is printed.
EXTRACTORS: Mapping[str, tuple[str, str]] = {
    "deepbet": ("deepbet", "Fisch et al., Comput Biol Med 2024"),
    "hdbet": ("HD-BET", "Isensee et al., Hum Brain Mapp 2019"),
    "hdbet2": ("HD-BET 2", "Isensee et al., Hum Brain Mapp 2019"),
    "synthstrip": ("SynthStrip", "Hoopes et al., NeuroImage 2022"),
    "fsl": ("FSL's BET", "Smith, Hum Brain Mapp 2002"),
}
BIAS: Mapping[str, str] = {
    "n4": "the shading of each scan was corrected by N4 (Tustison et al., IEEE Trans Med Imaging "
    "2010)",
}
TEMPLATES: Mapping[str, str] = {
    "mni": "brains were brought into the space of the MNI152 template (Fonov et al., NeuroImage "
    "2011) by an affine registration",
}


def contrast_name(name: str) -> str:
    """As a paper writes it: T1ce, FLAIR; a name that has capitals already, as it is."""
    if not name.islower():
        return name
    return capital(name) if any(letter.isdigit() for letter in name) else name.upper()


def _contrasts(names: Sequence[str]) -> str:
    return enumerated([contrast_name(name) for name in names])


def _optional(words: Mapping[str, str], what: str) -> Any:
    """Says a choice that may be `none`, of which there is nothing to say."""
    return lambda choice: "" if choice == "none" else words.get(choice, f"{what}: {choice}")


def _extractor(name: str, recipe: str = "") -> str:
    """Its name, whose work it is, and the version that the cache recorded."""
    label, citation = EXTRACTORS.get(name, (name, ""))
    told = "; ".join(part for part in (citation, recipe) if part)
    return f"{label} ({told})" if told else label


def _grid(spacing_mm: float, field_mm: Sequence[float]) -> str:
    right, anterior, superior = field_mm
    shape = PreprocessingConfig(spacing_mm=spacing_mm, field_mm=(right, anterior, superior)).shape
    # In whole voxels, which may reach beyond the field that was asked for.
    field = " × ".join(f"{count * spacing_mm:g}" for count in reversed(shape))
    voxels = " × ".join(str(count) for count in reversed(shape))
    return (
        f"{spacing_mm:g} mm isotropic voxels in a field of {field} mm (right × anterior × "
        f"superior; {voxels} voxels)"
    )


CONTRASTS = Phrase(("data.contrasts",), _contrasts)
EXTRACTOR = Phrase(("preprocessing.skullstrip",), _extractor)
SHADING = Phrase(("preprocessing.bias",), _optional(BIAS, "bias correction"))
TEMPLATE = Phrase(("preprocessing.register",), _optional(TEMPLATES, "registration"))
PERCENTILES = Phrase(("preprocessing.percentiles",), lambda ends: f"{ends[0]:g} and {ends[1]:g}")
GRID = Phrase(("preprocessing.spacing_mm", "preprocessing.field_mm"), _grid)
PLACE = Phrase(
    ("preprocessing.register",),
    lambda kind: "centred on the brain" if kind == "none" else "at one place in that space",
)
ANTIALIAS = Phrase(
    ("preprocessing.antialias",),
    lambda on: (
        "after a low-pass filter where this was coarser" if on else "without a low-pass filter"
    ),
)
MISSING = Phrase(("data.missing",), lambda kind: kind if kind != "reject" else "")
DESCRIBED = frozenset(
    key
    for phrase in (CONTRASTS, EXTRACTOR, SHADING, TEMPLATE, PERCENTILES, GRID, ANTIALIAS, MISSING)
    for key in phrase.keys
)


def sentences(study: Study) -> tuple[str, ...]:
    """What was done to the scans, in the order of the chain; of alternatives, a variant had one."""
    settings = study.settings
    several = any(len(names) > 1 for names in _values(settings, "data.contrasts"))
    found = [
        *_channels(settings, several),
        *_brains(study),
        *_where_asked(settings, SHADING, TEMPLATE),
        f"Intensities {'of each contrast ' if several else ''}were scaled so that the "
        f"{settings.said(PERCENTILES)} percentiles within the brain became 0 and 1, values beyond "
        "were clipped, and voxels outside the brain set to 0.",
        f"Volumes were resampled linearly to {settings.said(GRID)} {settings.said(PLACE)}, "
        f"{settings.said(ANTIALIAS)}.",
        *zeros(study),
    ]
    if beyond := settings.beyond(DESCRIBED, ("preprocessing.",)):
        found.append(f"Further preprocessing settings: {'; '.join(beyond)}.")
    caches = distinct(str(variant.config.cache) for variant in study.variants)
    if len(caches) > 1:
        found.append(
            f"Variants used {len(caches)} such preprocessings of the same scans; of the "
            "alternatives given, each used one."
        )
    return tuple(found)


def _values(settings: Settings, key: str) -> list[Any]:
    return [values[key] for values in settings.values if key in values]


def _channels(settings: Settings, several: bool) -> list[str]:
    """Which contrasts, and how they came to lie on one another."""
    names = settings.alternatives(CONTRASTS)
    if not names:
        return []
    if len(names) > 1:
        found = [f"Variants differed in the contrasts that they were given: {'; '.join(names)}."]
    elif several:
        found = [f"{names[0]} of a subject became the channels of one volume."]
    else:
        found = [f"The contrast used was {names[0]}."]
    if several:
        found.append(
            "Contrasts were rigidly registered to a subject's first by mutual information, unless "
            "they came brain-extracted on its grid, and moved only where they then agreed better; "
            "each was resampled once."
        )
    return found


def _brains(study: Study) -> list[str]:
    """Where the brain masks came from."""
    used = study.cohort.used
    given = {subject.subject_id for subject in used if subject.columns.get("mask")}
    stripped = {
        subject.subject_id
        for subject in used
        if _is_true(subject.columns.get("stripped", ""), study.config.data.stripped)
    } - given
    found = []
    if given:
        all_of = "Every scan" if len(given) == len(used) else plural(len(given), "scan")
        found.append(f"{all_of} came with a brain mask, which was used as it was.")
    if stripped:
        all_of = "Every scan" if len(stripped) == len(used) else plural(len(stripped), "scan")
        found.append(f"{all_of} came brain-extracted.")
    if len(given) + len(stripped) < len(used):
        what = "Scans that came neither with a mask nor brain-extracted" if found else "Scans"
        but = "" if found else " unless they came brain-extracted"
        found.append(f"{what} were brain-extracted with {_extractors(study)}{but}.")
    return found


def _extractors(study: Study) -> str:
    """What found the brains, with its recipe where all variants have the same."""
    names = distinct(_values(study.settings, "preprocessing.skullstrip"))
    if len(names) > 1:
        return study.settings.said(EXTRACTOR)
    return _extractor(names[0], study.cache.chain.get("extraction", f"version {NOT_RECORDED}"))


def _is_true(text: str, otherwise: bool) -> bool:
    return text.strip().lower() in TRUE if text.strip() else otherwise


def _where_asked(settings: Settings, *phrases: Phrase) -> list[str]:
    said = [settings.said_of_some(phrase) for phrase in phrases]
    return [f"{capital(words)}." for words in said if words]


def zeros(study: Study) -> list[str]:
    """How many scans lack a contrast, where such scans are kept."""
    if not study.settings.said(MISSING):
        return []
    if study.lacking is None:
        return [
            f"Contrasts that a subject lacked are channels of zeros; how many was {NOT_RECORDED}."
        ]
    if not study.lacking:
        return ["No subject lacked a contrast."]
    counts = [
        f"{contrast_name(name)} (n = {count:,})" for name, count in sorted(study.lacking.items())
    ]
    return [f"Contrasts that a subject lacked are channels of zeros: {enumerated(counts)}."]
