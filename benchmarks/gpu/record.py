"""What a part of the GPU checks is, and the report that it fills."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

Value = float | int | str


@dataclass(frozen=True)
class Part:
    """Some checks that run together, in less than ten minutes on a GPU.

    Attributes:
        letter: what `--part` calls it.
        title: what it checks, for the reader of the report.
        run: makes the checks and adds each figure to the report.
    """

    letter: str
    title: str
    run: Callable[[Report], None]


@dataclass(frozen=True)
class Figure:
    """One thing that was measured.

    Attributes:
        limit: the most that is allowed, where there is a limit.
        least: the least that is allowed, where there is one.
        at_s: seconds since the checks began.
    """

    part: str
    name: str
    value: Value
    limit: float | None = None
    least: float | None = None
    at_s: float = 0.0

    @property
    def within(self) -> bool:
        """Whether the value keeps its limits; NaN keeps none."""
        if self.limit is None and self.least is None:
            return True
        value = float(self.value)
        return (self.limit is None or value <= self.limit) and (
            self.least is None or value >= self.least
        )

    def line(self) -> str:
        """The figure as the terminal shows it."""
        shown = f"{self.value:.4g}" if isinstance(self.value, float) else str(self.value)
        bounds = [
            f"{sign} {bound:.4g}"
            for sign, bound in (("≤", self.limit), ("≥", self.least))
            if bound is not None
        ]
        asked = f"  (asked: {' and '.join(bounds)})" if bounds else ""
        return f"{self.part} {self.at_s:6.1f} s  {self.name}: {shown}{asked}"


class OutOfLimitsError(Exception):
    """A figure does not keep its limits; the remaining checks are not run."""


@dataclass
class Report:
    """The figures so far. They are written to `out` whenever one is added.

    Attributes:
        device: where the checks run.
        quick: toy sizes, to see that the checks run; no limit is judged then.
        out: the JSON file.
        keep_going: go on after a figure outside its limits.
        facts: of the machine: names and versions.
        outside: figures outside their limits, and checks that failed.
    """

    device: torch.device
    quick: bool
    out: Path
    keep_going: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    part: str = ""
    outside: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def add(
        self, name: str, value: Value, limit: float | None = None, least: float | None = None
    ) -> None:
        """Note a figure.

        Args:
            limit: the most that is allowed.
            least: the least that is allowed.

        Raises:
            OutOfLimitsError: when the value lies outside its limits, unless sizes are toys or the
                checks are to keep going.
        """
        figure = Figure(self.part, name, value, limit, least, time.perf_counter() - self.started)
        self.figures.append(figure)
        print(figure.line(), flush=True)
        wrong = not (figure.within or self.quick)
        if wrong:
            self.outside.append(figure.line())
        self.write()
        if wrong and not self.keep_going:
            raise OutOfLimitsError(figure.line())

    def note(self, name: str, value: Value) -> None:
        """Note a figure without a limit for the file alone; the terminal has room for the rest."""
        self.figures.append(Figure(self.part, name, value, at_s=time.perf_counter() - self.started))

    def say(self, text: str) -> None:
        """Print progress that is no figure."""
        print(f"{self.part} {time.perf_counter() - self.started:6.1f} s  … {text}", flush=True)

    def write(self) -> None:
        """Write everything so far, so that a check that is killed loses nothing."""
        content = {
            "quick": self.quick,
            "outside": self.outside,
            "facts": self.facts,
            "figures": [asdict(figure) for figure in self.figures],
        }
        self.out.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.out.with_name(f"{self.out.name}.part")
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.out)
