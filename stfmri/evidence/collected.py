"""What the runs of a sweep left behind: their predictions, and how each was made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from stfmri.evidence.baselines import BASELINES
from stfmri.evidence.baselines.record import Baseline
from stfmri.evidence.chosen import Choices
from stfmri.evidence.cohort import Cohort
from stfmri.evidence.methods.study import Study
from stfmri.evidence.predicted import Predicted
from stfmri.evidence.references.record import Reference
from stfmri.evidence.seeds import note_on
from stfmri.study.runs import Run
from stfmri.study.shards import Volumes


@dataclass(frozen=True)
class RunRecord:
    """What a run says of itself: whether it counts, and how it was made."""

    run: Run
    missing_because: str  # empty for a run that was read
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """Everything that tables, figures and the report are made of.

    Attributes:
        sweep: its name.
        note: a caution to print at the top, or empty.
        cohort: who was trained and tested on.
        variants: predictions of the networks, or of other tools.
        baselines: those of the baselines, in the order of the registry.
        records: every run that was expected, of networks and of image baselines.
        choices: `key=value` of each choice that is not the default.
        split: a sentence on how the subjects were divided; empty where it is not known.
        split_notes: what is unusual about the division, a sentence each.
        reference: a published study to print beside, if it has the same classes.
        kinds: every baseline by the name of its predictions.
        chosen: what each fold chose on its own training subjects.
        study: what the methods text is written from; None for predictions of other tools.
        volumes: of the subjects; None where they are not at hand.
        is_external: whether all are tested on another cohort, by networks that were finished.
    """

    sweep: str
    note: str
    cohort: Cohort
    variants: tuple[Predicted, ...]
    baselines: tuple[Predicted, ...]
    records: tuple[RunRecord, ...] = ()
    choices: tuple[str, ...] = ()
    split: str = ""
    split_notes: tuple[str, ...] = ()
    reference: Reference | None = None
    study: Study | None = None
    volumes: Volumes | None = None
    kinds: Mapping[str, Baseline] = field(default_factory=lambda: BASELINES)
    chosen: Choices = field(default_factory=Choices)
    is_external: bool = False

    @property
    def missing(self) -> list[str]:
        """Names of the runs that gave no evidence."""
        return [record.run.name for record in self.records if record.missing_because]

    @property
    def seed_notes(self) -> list[str]:
        """Which seeds of a variant were left out of its scores, a sentence a variant."""
        expected: dict[str, dict[int, None]] = defaultdict(dict)
        for record in self.network_records:
            if record.run.seed is not None:
                expected[record.run.variant][record.run.seed] = None
        notes = (
            note_on(one.label, expected[one.name], one.seeds)
            for one in self.variants
            if one.name in expected
        )
        return [note for note in notes if note]

    @property
    def network_records(self) -> list[RunRecord]:
        """The runs that trained a network."""
        return [record for record in self.records if not record.run.baseline]

    @cached_property
    def missed(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """How often networks tested each subject of `Cohort.tested`, and how often wrongly."""
        count = len(self.cohort.tested)
        tested, wrong = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        # An ensemble is made of networks that are counted already.
        for variant in (one for one in self.variants if not one.is_ensemble):
            tested += np.bincount(variant.subject_N, minlength=count)
            mistakes = variant.subject_N[variant.prediction_N != variant.label_N]
            wrong += np.bincount(mistakes, minlength=count)
        return tested, wrong
