from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from stfmri.evidence import metrics
from stfmri.evidence.cohort import Cohort
from stfmri.evidence.collected_baselines import look_ups
from stfmri.study.splits import Fold, Subject
from tests.evidence.sweeps import PAPER_CLASSES, PAPER_SOURCES, subjects_of


def cohort_of(subjects: list[Subject], train: list[str], test: list[str]) -> Cohort:
    by_id = {subject.subject_id: subject for subject in subjects}
    return Cohort(PAPER_CLASSES, by_id, (Fold(tuple(train), (), tuple(test)),))


@dataclass(frozen=True)
class Told:
    """What a look-up says of the test subjects, in the order of their ids."""

    labels: list[str]
    predictions: list[str]
    probabilities: np.ndarray


def look_up(name: str, cohort: Cohort) -> Told:
    found = next(one for one in look_ups(cohort, [0])[0] if one.name == name)
    return Told(
        [cohort.classes[number] for number in found.label_N],
        [cohort.classes[number] for number in found.prediction_N],
        found.probability_NK,
    )


def subject(name: str, source: str, label: str) -> Subject:
    return Subject(name, name, source, label, name)


def test_on_the_papers_cohort_the_source_alone_scores_98_3_percent() -> None:
    subjects = subjects_of(PAPER_SOURCES)
    everyone = [item.subject_id for item in subjects]
    assert len(everyone) == 591
    # Fitted on the very scans it is scored on, as PAPER.md's figure is.
    told = look_up("source_only", cohort_of(subjects, everyone, everyone))
    counts = metrics.confusion_matrix(told.labels, told.predictions, PAPER_CLASSES)
    assert metrics.accuracy(counts) == pytest.approx(0.983, abs=5e-4)
    assert metrics.macro_f1(counts) == pytest.approx(0.969, abs=5e-4)


def test_the_majority_baseline_knows_one_class_only() -> None:
    subjects = subjects_of({("a", "LGG"): 3, ("b", "HGG"): 5, ("c", "Healthy"): 4})
    everyone = [item.subject_id for item in subjects]
    told = look_up("majority", cohort_of(subjects, everyone, everyone))
    assert set(told.predictions) == {"HGG"}
    assert told.probabilities[0] == pytest.approx((3 / 12, 5 / 12, 4 / 12))


def test_a_source_unknown_to_training_gets_the_majority_class() -> None:
    subjects = [
        subject("1", "known", "LGG"),
        subject("2", "other", "HGG"),
        subject("3", "other", "HGG"),
        subject("4", "new", "Healthy"),
        subject("5", "known", "Healthy"),
    ]
    told = look_up("source_only", cohort_of(subjects, ["1", "2", "3"], ["4", "5"]))
    assert told.predictions == ["HGG", "LGG"]


@pytest.mark.parametrize("name", ["majority", "source_only"])
def test_baselines_never_look_at_test_labels(name: str) -> None:
    subjects = subjects_of(PAPER_SOURCES)
    train = [item.subject_id for item in subjects[::2]]
    test = [item.subject_id for item in subjects[1::2]]
    mislabelled = [
        replace(item, label="LGG") if item.subject_id in set(test) else item for item in subjects
    ]
    honest = look_up(name, cohort_of(subjects, train, test))
    blind = look_up(name, cohort_of(mislabelled, train, test))
    assert honest.predictions == blind.predictions
