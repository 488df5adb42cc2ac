"""Sweeps over parts of the training subjects: their tables, headline and figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stfmri.evidence.collecting import collect_evidence
from stfmri.evidence.drawing import drawable_of
from stfmri.evidence.estimates import Results
from stfmri.evidence.figures import draw_all
from stfmri.evidence.figures.learning_curve import draw
from stfmri.evidence.score_tables import scores_table
from stfmri.evidence.sentences import headline
from stfmri.evidence.statistics import overlap_factor
from stfmri.evidence.summarise import summarise
from tests.evidence.sweeps import make_sweep

SOURCES = {("A", "LGG"): 16, ("A", "HGG"): 16, ("B", "Healthy"): 16}
PARTS = (0.25, 0.5, 1.0)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    root = tmp_path_factory.mktemp("curve")
    return summarise(collect_evidence(make_sweep(root, sources=SOURCES, fractions=PARTS)))


def test_a_smaller_part_stands_in_the_label_and_the_whole_does_not(results: Results) -> None:
    labels = [row.cells[0] for row in scores_table(results).rows[:4]]
    assert labels == [
        "ResNet3D, 25 % of training",
        "ResNet3D, 50 % of training",
        "ResNet3D",
        "ResNet3D, pre-trained, 25 % of training",
    ]


def test_headline_comparisons_and_choice_are_of_the_whole_training_part(results: Results) -> None:
    assert results.leader is not None
    assert results.leader.predicted.train_fraction == 1.0
    assert {item.a for item in results.comparisons} | {item.b for item in results.comparisons} == {
        "r3d_18-scratch-1",
        "r3d_18-kinetics-1",
        "majority",
        "source_only",
    }
    assert results.selection is not None
    assert results.selection.candidates == 2
    said = " ".join(headline(results))
    assert "% of training" not in said
    assert "the learning curve shows the smaller ones" in said


def test_curves_count_the_subjects_that_trained(results: Results) -> None:
    curves = drawable_of(results).learning
    assert [curve.label for curve in curves] == ["ResNet3D, pre-trained", "ResNet3D"]
    # 48 scans, of which 70 % train: 33, or 11 a class; of these 3, 6 and 11.
    for curve in curves:
        assert [point.subjects for point in curve.points] == pytest.approx([9, 18, 33], abs=1.5)
    by_name = {one.predicted.name: one for one in results.variants}
    point = curves[1].points[0]
    estimate = by_name["r3d_18-scratch-0.25"].primary
    assert (point.value, point.networks) == (estimate.pooled, (estimate.low, estimate.high))
    assert point.procedure == (estimate.procedure_low, estimate.procedure_high)


def test_intervals_of_a_smaller_part_allow_for_its_smaller_training_set(results: Results) -> None:
    cohort = results.evidence.cohort
    small, whole = (
        overlap_factor(3, cohort.mean_train_size(part), cohort.mean_test_size())
        for part in (0.25, 1.0)
    )
    assert small > 2 * whole
    assert not any(np.isnan(one.primary.procedure_low) for one in results.variants)


def test_the_figure_is_drawn_where_the_part_is_an_axis_and_only_there(
    results: Results, tmp_path: Path
) -> None:
    names = [drawn.name for _, drawn in draw_all(drawable_of(results))]
    assert names.count("learning_curve") == 1
    other = summarise(collect_evidence(make_sweep(tmp_path, accuracies={"mc3_18-scratch": 0.8})))
    assert list(draw(drawable_of(other))) == []


def test_the_axis_of_the_figure_is_logarithmic_and_names_the_numbers(results: Results) -> None:
    [figure] = draw(drawable_of(results))
    [axes] = figure.figure.axes
    assert axes.get_xscale() == "log"
    assert len(axes.get_xticks()) == 3
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "ResNet3D, pre-trained",
        "ResNet3D",
    ]
