"""Which columns of a table say something of a subject, and which give the class away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.cohorts.columns import decided_by_groups, decided_by_numbers, describe

LABELS = ["F", "M"] * 30


def test_numbers_and_groups_are_told_apart_and_counted() -> None:
    ages = [str(20 + index / 2) for index in range(60)]
    age = describe("age", [*ages[:58], "n/a", ""], LABELS)
    assert age is not None
    assert (age.numbers, age.unknown, age.groups) == ((20.0, 34.25, 48.5), 2, {})
    hand = describe("hand", ["right"] * 50 + ["left"] * 10, LABELS)
    assert hand is not None
    assert (hand.groups, hand.numbers) == ({"left": 10, "right": 50}, ())
    assert str(hand) == "hand (left 10, right 50)"
    comma = describe("height", [f"1,{60 + index}" for index in range(40)] * 2, LABELS + LABELS[:20])
    assert comma is not None
    assert comma.numbers[0] == 1.6


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("patient_id", [f"p{index % 7}" for index in range(60)]),
        ("scan date", ["2020-01-01", "2021-01-01"] * 30),
        ("position", [str(index) for index in range(60)]),  # rows, numbered
        ("code", [str(40_000 + 17 * index) for index in range(60)]),
        ("remark", [f"note {index}" for index in range(60)]),
        ("constant", ["x"] * 60),
        ("rare", ["a", "b", *[""] * 58]),
    ],
)
def test_what_identifies_subjects_or_says_nothing_is_no_column(
    name: str, values: list[str]
) -> None:
    assert describe(name, values, LABELS) is None


def test_the_class_under_another_name_is_a_copy_and_its_numbers_give_the_order() -> None:
    ages = np.random.default_rng(0).uniform(20, 80, 90)
    labels = ["young" if age < 40 else "middle" if age < 60 else "old" for age in ages]
    age = describe("age", [f"{value:.2f}" for value in ages], labels)
    assert age is not None
    assert age.is_copy
    assert age.order == ("young", "middle", "old")
    german = {"young": "jung", "middle": "mittel", "old": "alt"}
    copy = describe("gruppe", [german[label] for label in labels], labels)
    assert copy is not None
    assert copy.is_copy


@pytest.mark.parametrize("seed", range(5))
def test_a_column_of_noise_decides_next_to_nothing(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.choice(["a", "b", "c"], 300).tolist()
    assert decided_by_numbers(generator.normal(size=300).tolist(), labels) < 0.2
    assert decided_by_groups(generator.choice(list("wxyz"), 300).tolist(), labels) < 0.2


def test_one_source_and_a_source_for_each_subject_decide_nothing_pure_sources_everything() -> None:
    assert decided_by_groups(["site"] * 60, LABELS) == 0
    assert decided_by_groups([str(index) for index in range(60)], LABELS) == 0
    assert decided_by_groups(LABELS, LABELS) == 1


@given(st.lists(st.tuples(st.sampled_from("wxyz"), st.sampled_from("abc")), min_size=2))
def test_how_far_groups_decide_is_what_leaving_each_subject_out_gives(
    pairs: Sequence[tuple[str, str]],
) -> None:
    groups, labels = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    right = 0
    for index, (group, label) in enumerate(pairs):
        others = [y for i, (x, y) in enumerate(pairs) if x == group and i != index]
        right += bool(others) and others.count(label) == max(map(others.count, others))
    chance = max(map(labels.count, labels)) / len(labels)
    expected = 1.0 if chance == 1 else max(0.0, (right / len(labels) - chance) / (1 - chance))
    assert decided_by_groups(groups, labels) == pytest.approx(expected)
