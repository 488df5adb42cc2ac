"""The methods section of a paper, written from what a sweep did.

Like fMRIPrep's boilerplate (Esteban et al., Nature Methods 2019), the text is meant to be copied as
it is: it states what was recorded, and `not recorded` where a run or a cache does not say.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stfmri.evidence.cohort import Cohort
from stfmri.evidence.methods import network_text, preprocessing_text
from stfmri.evidence.methods.reasons import kinds_of, named
from stfmri.evidence.methods.study import Study
from stfmri.evidence.methods.wording import NOT_RECORDED, distinct, spanned
from stfmri.study.words import enumerated, plural

# Sources named one by one; of more, the number alone.
MOST_SOURCES = 6
NAMES = {"python": "Python", "torch": "PyTorch"}


@dataclass(frozen=True)
class Paragraph:
    """One paragraph under its heading."""

    heading: str
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        """The sentences as running text."""
        return " ".join(self.sentences)


def method_paragraphs(
    study: Study,
    split: Sequence[str] = (),
    baselines: Sequence[str] = (),
    statistics_used: Sequence[str] = (),
) -> tuple[Paragraph, ...]:
    """The methods section.

    Args:
        study: the sweep, its cohort, its cache and what its runs recorded.
        split: whole sentences on how the split was drawn.
        baselines: whole sentences on what the networks were compared with.
        statistics_used: whole sentences on metrics, intervals and tests.

    Returns:
        Those paragraphs that have something to say, in the order of a paper.
    """
    paragraphs = (
        Paragraph("Participants and data", _participants(study)),
        Paragraph("Preprocessing", preprocessing_text.sentences(study)),
        Paragraph("Splits", (*split, *_folds(study.cohort))),
        Paragraph("Networks and training", network_text.sentences(study)),
        Paragraph("Baselines", tuple(baselines)),
        Paragraph("Statistics", tuple(statistics_used)),
        Paragraph("Software", _software(study)),
    )
    return tuple(paragraph for paragraph in paragraphs if paragraph.sentences)


def as_text(paragraphs: Sequence[Paragraph]) -> str:
    """The section as plain text, an empty line between paragraphs."""
    return "\n\n".join(f"{item.heading}. {item.text}" for item in paragraphs) + "\n"


def _participants(study: Study) -> tuple[str, ...]:
    cohort = study.cohort
    used = cohort.used
    sources = sorted({subject.source for subject in used})
    patients = len({subject.patient_id for subject in used})
    named = f" ({', '.join(sources)})" if 1 < len(sources) <= MOST_SOURCES else ""
    origin = f"one source ({sources[0]})" if len(sources) == 1 else f"{len(sources)} sources{named}"
    by_class = Counter(subject.label for subject in used)
    classes = enumerated([f"{name} (n = {by_class[name]:,})" for name in cohort.classes])
    found = [
        f"The study used {plural(len(used), 'scan')} of {plural(patients, 'patient')} from "
        f"{origin}, in {plural(len(cohort.classes), 'class', 'classes')}: {classes}.",
        f"Classes are those of the cohort table's column {study.config.data.label}.",
    ]
    return (*found, *exclusions(study))


def exclusions(study: Study) -> tuple[str, ...]:
    """What was found, what gave no volume, and what no fold used."""
    cache, used = study.cache, len(study.cohort.used)
    if cache.rejected is None:
        found = [f"How many scans gave no usable volume was {NOT_RECORDED}."]
    elif cache.rejected:
        reasons = "; ".join(named(kinds_of(cache.rejected)))
        found = [
            f"Of {plural(cache.volumes + len(cache.rejected), 'scan')} found, "
            f"{len(cache.rejected):,} gave no usable volume: {reasons}."
        ]
    else:
        found = [f"None of the {plural(cache.volumes, 'scan')} found was excluded as unusable."]
    if unused := cache.volumes - used:
        was = "was" if unused == 1 else "were"
        found.append(f"{plural(unused, 'preprocessed scan')} {was} in no part of the split.")
    return tuple(found)


def _folds(cohort: Cohort) -> tuple[str, ...]:
    """How large the parts are."""
    folds = cohort.folds
    train = spanned([len(fold.train) for fold in folds])
    test = spanned([len(fold.test) for fold in folds])
    validated = [len(fold.val) for fold in folds]
    watched = f", {spanned(validated)} for validation" if any(validated) else ""
    of = "The one fold has" if len(folds) == 1 else f"Each of the {len(folds)} folds has"
    return (f"{of} {train} scans for training{watched} and {test} for testing.",)


def _software(study: Study) -> tuple[str, ...]:
    runs = study.provenances
    if not runs:
        return (f"Software and hardware: {NOT_RECORDED}.",)
    return (
        f"Networks were trained with stfmri ({_code(runs)}) under {_versions(runs)}.",
        f"Hardware: {_values(runs, 'device')}{_effort(runs)}.",
    )


def _versions(runs: Sequence[Mapping[str, Any]]) -> str:
    found: dict[str, list[str]] = {}
    for run in runs:
        versions = run.get("versions")
        for name, version in versions.items() if isinstance(versions, Mapping) else ():
            if version != "not installed":
                found.setdefault(str(name), []).append(str(version))
    said = [
        f"{NAMES.get(name, name)} {' / '.join(distinct(items))}" for name, items in found.items()
    ]
    return enumerated(said) or f"versions {NOT_RECORDED}"


def _code(runs: Sequence[Mapping[str, Any]]) -> str:
    """The commits of the code, and whether it was changed since."""
    states = [run.get("code") for run in runs]
    commits = distinct(
        f"commit {str(state['commit'])[:12]}" + (" with local changes" if _changed(state) else "")
        for state in states
        if isinstance(state, Mapping) and state.get("commit")
    )
    return enumerated(commits) or f"commit {NOT_RECORDED}"


def _changed(state: Mapping[str, Any]) -> bool:
    return bool(state.get("changed"))


def _effort(runs: Sequence[Mapping[str, Any]]) -> str:
    """How long a run trained and how much memory it took, where that was recorded."""
    timings = [run.get("timings") for run in runs]
    seconds = [
        float(times["train_s"])
        for times in timings
        if isinstance(times, Mapping) and isinstance(times.get("train_s"), int | float)
    ]
    memory = [size for run in runs if isinstance(size := run.get("peak_memory_bytes"), int)]
    parts = []
    if seconds:
        parts.append(f"training took a median of {_duration(statistics.median(seconds))} a run")
    if memory:
        parts.append(f"peak memory was {max(memory) / 1e9:.1f} GB")
    return "".join(f"; {part}" for part in parts)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _values(runs: Sequence[Mapping[str, Any]], key: str) -> str:
    return enumerated(distinct(str(run[key]) for run in runs if run.get(key))) or NOT_RECORDED
