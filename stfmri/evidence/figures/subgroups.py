"""Scores by subgroup: the leading variant beside what it must beat, group by group."""

from __future__ import annotations

import math
from collections.abc import Iterator

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stfmri.evidence.figures.inputs import Category, Drawable, Subgroups
from stfmri.evidence.figures.record import DrawnFigure, FigureKind
from stfmri.evidence.figures.style import (
    DOUBLE_MM,
    GRID,
    LOOKS,
    NORMAL,
    SCREEN_MM,
    SMALL,
    letters_in,
    new_figure,
    wrapped,
)

# What is drawn of a column with many groups, such as fifty centres.
MOST_GROUPS = 20


def draw(drawable: Drawable) -> Iterator[DrawnFigure]:
    """The figure; none without groups."""
    subgroups = drawable.subgroups
    if subgroups is None or not any(subgroups.columns.values()):
        return
    caption = (
        "Mark: the predictions of a group, pooled over folds; bar: its 95 % interval. "
        "Vertical lines: over all patients. n counts patients."
    )
    if any(len(groups) > MOST_GROUPS for groups in subgroups.columns.values()):
        caption += f" The {MOST_GROUPS} largest groups of a column are drawn."
    yield DrawnFigure(
        "subgroups",
        "Accuracy by subgroup",
        caption,
        _figure(subgroups, DOUBLE_MM),
        _figure(subgroups, SCREEN_MM),
    )


SUBGROUPS = FigureKind("subgroups", "Subgroups", draw)


def _figure(subgroups: Subgroups, width_mm: float) -> Figure:
    letters = letters_in(0.3 * width_mm, SMALL)
    legend_mm = 3.8 * len(subgroups.compared)
    columns = {
        name: sorted(groups, key=lambda group: -group.n)[:MOST_GROUPS]
        for name, groups in subgroups.columns.items()
        if groups
    }
    # In the order they were given: bands of age are not to be sorted by size.
    columns = {
        name: [group for group in subgroups.columns[name] if group in kept]
        for name, kept in columns.items()
    }
    height = sum(5.0 + 4.6 * len(groups) for groups in columns.values()) + 11 + legend_mm
    figure = new_figure(width_mm, height)
    axes = figure.subplots()
    axes.set_label("subgroups")
    step = 0.34 if len(subgroups.compared) > 1 else 0.0
    ticks: list[float] = []
    labels: list[str] = []
    position = 0.0
    for name, groups in columns.items():
        axes.axhspan(position - 0.5, position + 0.5, color=GRID, alpha=0.6, linewidth=0)
        axes.annotate(
            wrapped(name, letters, 1),
            (0, position),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=NORMAL,
            fontweight="bold",
        )
        for group in groups:
            position += 1
            ticks.append(position)
            labels.append(f"{wrapped(group.label, letters, 1)} (n = {group.n:,})")
            for number, point in enumerate(group.points):
                if point is None or math.isnan(point.value):
                    continue
                look = LOOKS[subgroups.compared[number].category]
                at = position + step * (number - (len(group.points) - 1) / 2)
                axes.plot([point.low, point.high], [at, at], color=look.colour, linewidth=1.1)
                axes.plot(
                    [point.value],
                    [at],
                    linestyle="none",
                    marker=look.marker,
                    markersize=4,
                    color=look.colour,
                    markeredgecolor="white",
                    markeredgewidth=0.5,
                    label=f"{name} {group.label} {number}",
                )
        position += 1.2
    for one in subgroups.compared:
        look = LOOKS[one.category]
        axes.axvline(one.overall, color=look.colour, linestyle=(0, (4, 2)), linewidth=0.8, zorder=1)
    axes.set_yticks(ticks, labels)
    axes.set_ylim(position - 0.5, -0.6)
    _limit(figure)
    axes.set_xlabel("Accuracy")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    handles = [
        Line2D(
            [],
            [],
            color=LOOKS[one.category].colour,
            marker=LOOKS[one.category].marker,
            markersize=4,
            markeredgecolor="white",
            label=_words(one.label, one.category, letters_in(width_mm - 14, SMALL)),
        )
        for one in subgroups.compared
    ]
    figure.legend(handles=handles, loc="outside lower left")
    return figure


def _words(label: str, category: Category, letters: int) -> str:
    return wrapped(f"{category.value}: {label}", letters, 1)


def _limit(figure: Figure) -> None:
    """Keep a whisker from stretching the axis beyond what the metric can be."""
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    least, most = 0.0, 1.0
    tolerance = 0.02 * (most - least)
    axes.set_xlim(max(low, least - tolerance), min(high, most + tolerance))
