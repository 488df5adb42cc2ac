"""How far a build is: a bar in a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")

LINE_S = 20.0  # between two lines of a log


class Shown(Protocol):
    """Passes items on, and shows how many of `total` have come."""

    def __call__(self, items: Iterable[Item], total: int, what: str) -> Iterable[Item]:
        """Pass the items on; `what` names them, in the plural."""


def silent(items: Iterable[Item], total: int, what: str) -> Iterable[Item]:  # noqa: ARG001
    """The items as they are."""
    return items


def shown_on(console: Console) -> Shown:
    """Progress on a console: a bar with the time left, or lines where it is no terminal."""

    def shown(items: Iterable[Item], total: int, what: str) -> Iterable[Item]:
        draw = _bar if console.is_terminal else _lines
        return draw(console, items, total, what)

    return shown


def _bar(console: Console, items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield from bar.track(items, total, description=what)


def _lines(console: Console, items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    due = time.monotonic() + LINE_S
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() > due and done < total:
            console.print(f"{what}: {done} of {total}", markup=False)
            due = time.monotonic() + LINE_S
