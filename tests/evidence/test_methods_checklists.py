"""Checklists: every item once, each answered or marked."""

from __future__ import annotations

import re

import pytest

from stfmri.evidence.methods.checklists import (
    CHECKLISTS,
    MARK,
    FilledChecklist,
    checklist_table,
    fill,
    read_checklist,
)
from stfmri.evidence.methods.checklists.answers import ANSWERS
from stfmri.evidence.methods.method_text import method_paragraphs
from stfmri.evidence.tables import to_csv, to_markdown
from tests.evidence.test_methods import rendered, study_of

# TRIPOD+AI: main items with the number of their parts, where they have several.
TRIPOD_PARTS = {3: 3, 5: 2, 6: 3, 8: 3, 9: 3, 12: 7, 18: 6, 20: 3, 23: 2, 27: 3}


def filled(name: str) -> FilledChecklist:
    study = study_of()
    paragraphs = method_paragraphs(study, ("Drawn so.",), ("Beside these.",), ("Tested so.",))
    return fill(read_checklist(name), study, paragraphs)


def test_claim_has_its_44_items_once_and_in_order() -> None:
    numbers = [item.number for item in read_checklist("claim2024").items]
    assert numbers == [str(number) for number in range(1, 45)]


def test_tripod_has_its_27_items_and_52_parts_once_and_in_order() -> None:
    expected = []
    for number in range(1, 28):
        parts = TRIPOD_PARTS.get(number, 1)
        letters = "abcdefg"[:parts] if parts > 1 else [""]
        expected += [f"{number}{letter}" for letter in letters]
    assert len(expected) == 52
    assert [item.number for item in read_checklist("tripod_ai").items] == expected


@pytest.mark.parametrize("name", CHECKLISTS)
def test_every_item_has_an_answer_or_the_mark(name: str) -> None:
    for one in filled(name).items:
        assert one.answer or one.to_fill.startswith(MARK), one.item.number
        assert one.item.text
        assert one.item.section


def test_every_answer_is_asked_for_and_every_question_has_its_answer() -> None:
    asked = {item.answer for name in CHECKLISTS for item in read_checklist(name).items} - {""}
    assert asked == set(ANSWERS)


@pytest.mark.parametrize("name", CHECKLISTS)
def test_answers_are_of_this_study(name: str) -> None:
    answers = " ".join(one.answer for one in filled(name).items)
    assert "33,148,995 trainable parameters" in answers
    assert "2 sources: North (2 scans) and South (4 scans)" in answers
    assert "Drawn so." in answers
    assert "Tested so." in answers


def test_an_answer_that_the_study_does_not_know_is_left_to_the_authors() -> None:
    study = study_of()
    checklist = fill(read_checklist("claim2024"), study, method_paragraphs(study))
    metrics = next(one for one in checklist.items if one.item.number == "28")
    assert (metrics.answer, metrics.to_fill) == ("", MARK)


@pytest.mark.parametrize("name", CHECKLISTS)
def test_the_table_has_a_row_an_item_and_cites_the_source(name: str) -> None:
    checklist = filled(name)
    table = checklist_table(checklist)
    assert len(table.rows) == len(checklist.items)
    assert checklist.checklist.doi in table.caption
    assert to_csv(table).count(MARK) == sum(bool(one.to_fill) for one in checklist.items)
    assert to_markdown(table).count("\n|") >= len(checklist.items)


@pytest.mark.parametrize("name", CHECKLISTS)
def test_the_partial_shows_every_item_once(name: str) -> None:
    checklist = filled(name)
    page = rendered("_checklist.html.j2", filled=checklist)
    numbers = re.findall(r'class="number">([^<]+)<', page)
    assert numbers == [one.item.number for one in checklist.items]
    assert page.count(MARK) == sum(bool(one.to_fill) for one in checklist.items)
