"""How far a build is, in a terminal and in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from preprocessing import progress
from preprocessing.progress import shown_on, silent


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_shown_passes_through_unchanged(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal)
    assert list(shown_on(console)(iter(range(5)), 5, "volumes")) == list(range(5))
    assert list(silent(range(5), 5, "volumes")) == list(range(5))


def test_a_terminal_gets_a_bar_before_the_first_item_has_come() -> None:
    drawn = io.StringIO()
    items = iter(shown_on(Console(file=drawn, force_terminal=True, width=80))([0], 1, "volumes"))
    next(items)
    assert "volumes" in drawn.getvalue()
    assert list(items) == []


def test_a_log_gets_a_line_now_and_then_and_none_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = io.StringIO()
    ticks = iter(range(0, 1000, 15))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(ticks))
    list(shown_on(Console(file=log, width=80))(range(6), 6, "volumes"))
    lines = log.getvalue().splitlines()
    assert lines
    assert lines[0] == "volumes: 2 of 6"
    assert lines[-1] != "volumes: 6 of 6"
