"""Scores within groups and within sources, on hand-made predictions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from stfmri.evidence.cohort import Cohort
from stfmri.evidence.predicted import Predicted
from stfmri.evidence.statistics import cluster_weights, wilson
from stfmri.evidence.subgroups import (
    MISSING,
    WithinSources,
    columns_of,
    group_scores,
    groups_of,
    within_sources,
)
from stfmri.study.splits import Fold, Subject

COUNT = 120


def cohort_of(sources: list[str], labels: list[str], columns: list[dict[str, str]]) -> Cohort:
    subjects = {
        f"s{n:03d}": Subject(f"s{n:03d}", f"p{n:03d}", source, label, f"h{n}", column)
        for n, (source, label, column) in enumerate(zip(sources, labels, columns, strict=True))
    }
    names = tuple(subjects)
    return Cohort(("a", "b"), subjects, (Fold(names[:1], (), names),))


def predicted_of(cohort: Cohort, score: np.ndarray) -> Predicted:
    labels = np.array([cohort.classes.index(cohort.subjects[n].label) for n in cohort.tested])
    zeros = np.zeros(len(labels), dtype=np.int64)
    number = np.arange(len(labels))
    probability = np.stack([1 - score, score], axis=1)
    return Predicted("v", "V", "network", "", "", "", number, zeros, labels, probability)


def test_a_network_that_knows_the_source_alone_is_at_chance_within_sources() -> None:
    generator = np.random.default_rng(0)
    sources = ["X"] * 60 + ["Y"] * 60
    labels = ["a"] * 54 + ["b"] * 6 + ["a"] * 6 + ["b"] * 54
    cohort = cohort_of(sources, labels, [{}] * COUNT)
    score = np.where(np.array(sources) == "Y", 0.7, 0.3) + 0.2 * generator.random(COUNT)
    within = within_sources(predicted_of(cohort, score), cohort, cluster_weights(COUNT))
    assert within.overall > 0.85
    assert within.low < 0.5 < within.high
    assert within.sources == ("X", "Y")


@pytest.mark.parametrize("score", [[0.1, 0.9, 0.2, 0.8], [0.1, 0.9, 0.8, 0.2], [0.5] * 4])
def test_within_sources_of_one_pair_each_the_interval_is_wilsons(score: list[float]) -> None:
    cohort = cohort_of(["X", "X", "Y", "Y"], ["a", "b", "a", "b"], [{}] * 4)
    within = within_sources(predicted_of(cohort, np.array(score)), cohort, cluster_weights(4))
    # Every draw says the same. Each source is a trial: its pair is in the right order or not.
    right = sum((1 + np.sign(b - a)) / 2 for a, b in (score[:2], score[2:]))
    assert (within.low, within.high) == pytest.approx(tuple(wilson(right, 2)), abs=1e-8)
    assert within.low + 0.3 < within.high


def perfect(sources: int, scans: int) -> WithinSources:
    """Of sources that hold one patient of each of two classes, with so many scans."""
    each = scans * 2
    names = [f"X{n:02d}" for n in range(sources) for _ in range(each)]
    cohort = cohort_of(names, ["a", "b"] * (sources * scans), [{}] * (sources * each))
    patients = {
        name: replace(subject, patient_id=f"{subject.source} {subject.label}")
        for name, subject in cohort.subjects.items()
    }
    cohort = replace(cohort, subjects=patients)
    score = np.array([0.1, 0.9] * (sources * scans))
    return within_sources(predicted_of(cohort, score), cohort, cluster_weights(2 * sources))


def test_ten_perfect_sources_say_more_than_one() -> None:
    one, ten = perfect(1, scans=1), perfect(10, scans=1)
    # Wilson's lower end of n right ones of n is n / (n + z²), of z = 1.96.
    assert (one.low, one.high) == pytest.approx((1 / 4.8415, 1.0), abs=1e-4)
    assert (ten.low, ten.high) == pytest.approx((10 / 13.8415, 1.0), abs=1e-4)


def test_more_scans_of_the_same_patients_say_no_more() -> None:
    assert perfect(3, scans=4).low == pytest.approx(perfect(3, scans=1).low)


def test_within_sources_is_the_mean_of_each_ones_own_auc() -> None:
    generator = np.random.default_rng(1)
    sources = ["X"] * 50 + ["Y"] * 50 + ["Z"] * 20
    labels = [*generator.choice(["a", "b"], 100), *["a"] * 20]
    cohort = cohort_of(sources, list(map(str, labels)), [{}] * COUNT)
    score = generator.random(COUNT)
    within = within_sources(predicted_of(cohort, score), cohort, cluster_weights(COUNT))
    truth = np.array(labels) == "b"
    each = [roc_auc_score(truth[part], score[part]) for part in (slice(0, 50), slice(50, 100))]
    assert within.auc == pytest.approx(np.mean(each), abs=1e-12)
    assert within.patients == 100


def test_numbers_become_bands_and_every_patient_is_in_one() -> None:
    ages = [str(20 + n % 60) for n in range(COUNT)]
    columns = [{"age": age, "sex": "f" if n % 4 < 2 else "m"} for n, age in enumerate(ages)]
    cohort = cohort_of(["X"] * COUNT, ["a", "b"] * 60, columns)
    assert columns_of(cohort, []) == ["age", "sex"]
    assert set(groups_of(cohort, "age").values()) == {"below 40", "40 to 59", "59 and above"}
    predicted = predicted_of(cohort, np.full(COUNT, 0.9))
    scores = group_scores(predicted, cohort, "age", cluster_weights(COUNT))
    assert [score.group for score in scores] == ["below 40", "40 to 59", "59 and above"]
    assert sum(score.patients for score in scores) == COUNT
    # Half of each band is of the class that is always predicted.
    assert all(score.low < 0.5 < score.high for score in scores)


def test_ages_that_are_the_classes_are_no_subgroups_unless_asked_for() -> None:
    ages = [str(20 + n % 60) for n in range(COUNT)]
    labels = ["a" if int(age) < 40 else "b" if int(age) < 59 else "c" for age in ages]
    cohort = cohort_of(["X"] * COUNT, labels, [{"age": age} for age in ages])
    assert columns_of(cohort, []) == []
    assert columns_of(cohort, ["age"]) == ["age"]


def test_missing_ages_and_small_numbers_still_make_bands() -> None:
    columns = [
        {"age": "n/a" if n % 10 == 0 else str(20 + n % 60), "thickness": str(2 + n % 60 / 100)}
        for n in range(COUNT)
    ]
    cohort = cohort_of(["X"] * COUNT, ["a", "b"] * 60, columns)
    assert len(set(groups_of(cohort, "age").values())) == 4
    assert MISSING in groups_of(cohort, "age").values()
    sizes = Counter(groups_of(cohort, "thickness").values())
    assert len(sizes) == 3
    assert min(sizes.values()) > COUNT // 5


def test_a_group_in_which_everybody_is_right_has_an_interval_of_some_width() -> None:
    cohort = cohort_of(["X"] * 60 + ["Y"] * 60, ["a", "b"] * 60, [{}] * COUNT)
    truth = np.array([cohort.subjects[n].label == "b" for n in cohort.tested])
    scores = group_scores(
        predicted_of(cohort, truth * 0.8 + 0.1), cohort, "source", cluster_weights(COUNT)
    )
    assert [score.accuracy for score in scores] == [1.0, 1.0]
    # Jeffreys' interval of 60 of 60 begins at 0.959.
    assert all(0.93 < score.low < 0.985 for score in scores)
    # The interval holds what it is of.
    assert all(score.high == 1.0 for score in scores)
