from __future__ import annotations

from dataclasses import replace

import pytest

from stfmri.evidence import metrics
from stfmri.evidence.cohort import Cohort
from stfmri.evidence.lookups import baseline_table
from stfmri.study import predictions
from stfmri.study.splits import Fold, Subject
from tests.evidence.sweeps import PAPER_CLASSES, PAPER_SOURCES, subjects_of


def cohort_of(subjects: list[Subject], train: list[str], test: list[str]) -> Cohort:
    by_id = {subject.subject_id: subject for subject in subjects}
    return Cohort(PAPER_CLASSES, by_id, (Fold(tuple(train), (), tuple(test)),))


def subject(name: str, source: str, label: str) -> Subject:
    return Subject(name, name, source, label, name)


def test_on_the_papers_cohort_the_source_alone_scores_98_3_percent() -> None:
    subjects = subjects_of(PAPER_SOURCES)
    everyone = [item.subject_id for item in subjects]
    assert len(everyone) == 591
    # Fitted on the very scans it is scored on, as PAPER.md's figure is.
    table = baseline_table("source_only", cohort_of(subjects, everyone, everyone), 0)
    counts = metrics.confusion_matrix(
        [row.label for row in table.rows], [row.prediction for row in table.rows], PAPER_CLASSES
    )
    assert metrics.accuracy(counts) == pytest.approx(0.983, abs=5e-4)
    assert metrics.macro_f1(counts) == pytest.approx(0.969, abs=5e-4)


def test_the_majority_baseline_knows_one_class_only() -> None:
    subjects = subjects_of({("a", "LGG"): 3, ("b", "HGG"): 5, ("c", "Healthy"): 4})
    everyone = [item.subject_id for item in subjects]
    table = baseline_table("majority", cohort_of(subjects, everyone, everyone), 0)
    assert {row.prediction for row in table.rows} == {"HGG"}
    assert table.rows[0].probabilities == pytest.approx((3 / 12, 5 / 12, 4 / 12))


def test_a_source_unknown_to_training_gets_the_majority_class() -> None:
    subjects = [
        subject("1", "known", "LGG"),
        subject("2", "other", "HGG"),
        subject("3", "other", "HGG"),
        subject("4", "new", "Healthy"),
        subject("5", "known", "Healthy"),
    ]
    table = baseline_table("source_only", cohort_of(subjects, ["1", "2", "3"], ["4", "5"]), 0)
    assert [row.prediction for row in table.rows] == ["HGG", "LGG"]


@pytest.mark.parametrize("name", ["majority", "source_only"])
def test_baselines_never_look_at_test_labels(name: str) -> None:
    subjects = subjects_of(PAPER_SOURCES)
    train = [item.subject_id for item in subjects[::2]]
    test = [item.subject_id for item in subjects[1::2]]
    mislabelled = [
        replace(item, label="LGG") if item.subject_id in set(test) else item for item in subjects
    ]
    honest = baseline_table(name, cohort_of(subjects, train, test), 0)
    blind = baseline_table(name, cohort_of(mislabelled, train, test), 0)
    assert [row.prediction for row in honest.rows] == [row.prediction for row in blind.rows]


@pytest.mark.parametrize("name", ["majority", "source_only"])
def test_a_baselines_table_is_as_valid_as_a_networks(name: str) -> None:
    subjects = subjects_of(PAPER_SOURCES)
    train = [item.subject_id for item in subjects[::2]]
    test = [item.subject_id for item in subjects[1::2]]
    table = baseline_table(name, cohort_of(subjects, train, test), 0)
    predictions.validate(table, PAPER_CLASSES, 0, set(test))
