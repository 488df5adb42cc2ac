"""What is answered of a scan, and everything that speaks against believing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from launch.prediction.examine import Examined
from launch.prediction.familiar import Familiarity, TrainingScans
from launch.prediction.networks import Asked
from preprocessing import qc
from preprocessing.brain import recipe
from preprocessing.cohorts import Scan
from stfmri.learning.models import Trained

# How `Scan.brain_from` is said.
BRAINS = {
    "given": "given",
    "stripped": "what was left of brain-extracted scans",
    "extracted": "extracted here",
}


@dataclass(frozen=True)
class Answer:
    """The probabilities of one scan, in the order of `classes`, and what to know of them.

    Attributes:
        probability_FK: of each network.
        brain: which brain mask was used, in words.
        familiarity: the scan among the training scans; None where they are not known.
        seen_by: number of networks that were trained on it.
        notes, warnings: a sentence each.
    """

    examined: Examined
    classes: tuple[str, ...]
    probability_FK: NDArray[np.float64]
    brain: str
    familiarity: Familiarity | None
    seen_by: int
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def name(self) -> str:
        """The scan's path, or the subject's id of a table."""
        return self.examined.scan.subject_id

    @cached_property
    def probability_K(self) -> NDArray[np.float64]:
        """The mean over networks."""
        mean: NDArray[np.float64] = self.probability_FK.mean(axis=0)
        return mean

    @property
    def prediction(self) -> str:
        """The likeliest class; of equal ones the first."""
        return self.classes[int(self.probability_K.argmax())]

    @property
    def agreeing(self) -> int:
        """Number of networks that say the same by themselves."""
        place = self.classes.index(self.prediction)
        return int(np.count_nonzero(self.probability_FK.argmax(axis=1) == place))


def judge(scans: Sequence[Examined], asked: Asked, first: Trained) -> list[Answer]:
    """The answers to scans that were not refused, in their order."""
    training = TrainingScans.of(asked.training_scans)
    return [
        _answer(scan, asked.probability_FNK[:, number], asked, training, first)
        for number, scan in enumerate(scans)
    ]


def _answer(
    found: Examined,
    probability_FK: NDArray[np.float64],
    asked: Asked,
    training: TrainingScans,
    first: Trained,
) -> Answer:
    settings = first.config.preprocessing
    familiarity = training.compare(found.numbers)
    seen_by, scan_seen_by = asked.seen_by(found), asked.scan_seen_by(found)
    brain = brain_in_words(found.scan, settings.skullstrip)
    warnings = [
        *_of_seen(seen_by, scan_seen_by, len(asked.trained_on)),
        *_of_brain(found.scan, brain, training, first),
        *qc.warn_alone(found.numbers, settings.percentiles),
    ]
    notes = [f"the brain mask is {brain}"]
    if familiarity is None:
        notes.append(
            "not compared with the training scans: the run does not say what they were like "
            "(trained by an earlier version, or on fewer than a handful)"
        )
    elif familiarity.is_outside:
        warnings.append(familiarity.sentence())
    else:
        notes.append(familiarity.sentence())
    return Answer(
        found,
        first.classes,
        probability_FK,
        brain,
        familiarity,
        max(seen_by, scan_seen_by),
        tuple(notes),
        tuple(warnings),
    )


def brain_in_words(scan: Scan, extractor: str) -> str:
    """Which brain mask a scan's volume was made with."""
    if scan.mask is not None:
        return f"the given {scan.mask.name}"
    if scan.stripped:
        return "what is left of the brain-extracted scan"
    return f"extracted by {recipe(extractor)}"


def _of_seen(seen_by: int, scan_seen_by: int, networks: int) -> Iterator[str]:
    """Whether networks were trained on the scan, with these voxels or with others of it."""
    most = max(seen_by, scan_seen_by)
    if not most:
        return
    many = f"{most} of the {networks} networks {'was' if most == 1 else 'were'}"
    who = "the network was" if networks == 1 else many
    other = "" if seen_by else ", with another brain mask or preprocessing"
    yield (
        f"{who} trained on this scan{other}: these probabilities say nothing of how "
        f"{'it does' if networks == 1 else 'they do'} on new scans"
    )


def _of_brain(scan: Scan, brain: str, training: TrainingScans, first: Trained) -> Iterator[str]:
    """Whether the brain was found in another way than those of the training scans."""
    known = training.brains
    if known and scan.brain_from not in known:
        ways = " or ".join(BRAINS[name] for name in known if name in BRAINS)
        yield (
            f"its brain mask is {brain}; those of the training scans were {ways}, and what a "
            f"network sees at the brain's edge may differ: {_remedy(known)}"
        )
    there, here = first.chain.get("extraction"), recipe(first.config.preprocessing.skullstrip)
    if scan.brain_from == "extracted" and known.get("extracted") and there not in (None, here):
        yield f"its brain was extracted by {here}, those of the training scans by {there}"


def _remedy(known: dict[str, int]) -> str:
    if "given" in known:
        return "give a mask of the same kind with --mask, or in the column mask of a --table"
    return "give scans as the training had them"
