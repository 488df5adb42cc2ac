"""What a kind of figure is: a record that the results folder and the report iterate over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from matplotlib.figure import Figure

from stfmri.evidence.figures.inputs import Drawable


@dataclass(frozen=True)
class DrawnFigure:
    """One figure with its file name and what stands below it.

    Attributes:
        name: of its files, without an ending.
        title, caption: a line, and what a reader must know to read the figure.
        figure: as wide as one or two columns of a journal.
        narrow: the same for a narrow screen, as wide as one column; None where `figure` is.
        on_page: whether the report shows it; otherwise it is a file only.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    narrow: Figure | None = None
    on_page: bool = True


@dataclass(frozen=True)
class FigureKind:
    """A kind of figure.

    Attributes:
        name: what the names of its files begin with; the report finds its place by it.
        title: of its part of the report.
        draw: gives no figure where its input is missing.
    """

    name: str
    title: str
    draw: Callable[[Drawable], Iterable[DrawnFigure]]
