"""The most frequent training class of the scan's source: its centre or study.

On the paper's cohort this alone is right for 98.3 % of the scans, because the classes come from
different sources.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stfmri.evidence.baselines.lookup import class_shares
from stfmri.evidence.baselines.record import Baseline, Fitted, FloatArray, Task

if TYPE_CHECKING:
    from stfmri.study.config import Config
    from stfmri.study.splits import Subject


def predict(task: Task) -> Fitted:
    """The classes' shares among the training subjects of the same source.

    A source that training never saw falls back to its study, the part of its name before the first
    `-`, and where that is new too, to the whole training part.
    """
    by_source: dict[str, list[Subject]] = defaultdict(list)
    by_study: dict[str, list[Subject]] = defaultdict(list)
    for subject in task.train:
        by_source[subject.source].append(subject)
        by_study[study_of(subject.source)].append(subject)

    def shares(source: str) -> FloatArray:
        alike = by_source.get(source) or by_study.get(study_of(source)) or task.train
        return class_shares(alike, task.classes)

    unseen = [subject for subject in task.test if subject.source not in by_source]
    facts = {
        "test_scans_of_unseen_source": len(unseen),
        "unseen_sources": sorted({subject.source for subject in unseen}),
    }
    return Fitted(np.array([shares(subject.source) for subject in task.test]), facts)


def study_of(source: str) -> str:
    """`BraTS` of `BraTS-TCIA02`; a source without a `-` is its own study."""
    return source.partition("-")[0]


def unfit(config: Config, subjects: Sequence[Subject]) -> str:  # noqa: ARG001
    """Where all scans come from one source, there is nothing to look up."""
    if len({subject.source for subject in subjects}) < 2:
        return "the cohort has one source"
    return ""


def remark(facts: Sequence[Mapping[str, object]]) -> str:
    """How many test scans came from a source that their training part lacked."""
    unseen = sum(int(str(fact["test_scans_of_unseen_source"])) for fact in facts)
    if not unseen:
        return ""
    some = "1 test scan comes" if unseen == 1 else f"{unseen:,} test scans come"
    return (
        f"{some} from a source that the training part of the fold lacks; the look-up from source "
        "takes the rest of the study for it, or else the whole training part."
    )


BASELINE = Baseline(
    name="source_only",
    label="Source only",
    phrase="the look-up from source alone, which sees no image",
    meaning="Knowing where a scan comes from is enough for such a score; a network that is not "
    "above it need not have learned any anatomy.",
    sees_images=False,
    predict=predict,
    is_lookup=True,
    unfit=unfit,
    remark=remark,
)
