"""The forest plot: a metric of every variant and baseline with both of its intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stfmri.evidence.figures.inputs import Category, Drawable, Ends, ForestRow
from stfmri.evidence.figures.record import DrawnFigure, FigureKind
from stfmri.evidence.figures.style import (
    DOUBLE_MM,
    FAINT,
    INK,
    LOOKS,
    NORMAL,
    SCREEN_MM,
    SMALL,
    SOFT,
    letters_in,
    new_figure,
    wrapped,
)
from stfmri.evidence.metrics.record import FloatArray

# What is drawn of a large sweep, so that it stands on one page; the tables hold everything.
MOST_VARIANTS = 40
THICK, THIN = 3.2, 0.9  # pt
BELOW_MM = 1.35  # where the folds are, so that no mark hides them
NETWORKS = "95 % interval: these trained models on new patients"
PROCEDURE = "95 % interval: the training procedure at this size"
# Where the columns of numbers begin, in points to the right of the axes.
COLUMNS = ((5, "Pooled"), (33, "Models"), (78, "Procedure"))


def draw(drawable: Drawable) -> Iterator[DrawnFigure]:
    """The forest plot; none without rows."""
    variants = [row for row in drawable.forest if row.category is Category.NETWORK]
    baselines = [row for row in drawable.forest if row.category is not Category.NETWORK]
    rows = [*variants[:MOST_VARIANTS], *_by_category(baselines)]
    if not rows:
        return
    caption = (
        "Filled mark: the predictions pooled over folds. Thick bar: what these trained models "
        "would score on other patients. "
    )
    if any(row.procedure for row in rows):
        caption += (
            "Thin bar: what the same procedure, trained again on as many other subjects, would. "
        )
    caption += "Rings: the single folds."
    low = _limits(rows, drawable.metric_limits)[0]
    if any(row.value < low for row in rows):
        caption += " Arrows: far to the left, at the value that is printed."
    if len(variants) > MOST_VARIANTS:
        caption += f" The best {MOST_VARIANTS} of {len(variants)} variants are drawn."
    yield DrawnFigure(
        "forest",
        f"{drawable.metric_label} with 95 % intervals",
        caption,
        _figure(drawable, rows, DOUBLE_MM),
        _figure(drawable, rows, SCREEN_MM),
    )


FOREST = FigureKind("forest", "Scores", draw)


def _by_category(baselines: Sequence[ForestRow]) -> list[ForestRow]:
    """Baselines that see images first, the better one of a category first."""
    order = {category: number for number, category in enumerate(Category)}
    return sorted(
        baselines, key=lambda row: (order[row.category], -np.nan_to_num(row.value, nan=-math.inf))
    )


def _figure(drawable: Drawable, rows: Sequence[ForestRow], width_mm: float) -> Figure:
    is_wide = width_mm == DOUBLE_MM
    is_long = len(rows) > 24
    # Two lines a label only where all rows still stand on one page.
    lines, size, share = (1, SMALL, 0.42) if is_long else (2, NORMAL, 0.33)
    if not is_wide:
        lines, size, share = 3, SMALL, 0.33
    labels = [wrapped(row.label, letters_in(share * width_mm, size), lines) for row in rows]
    # The vertical axis is in mm, so that a label in two lines makes its row higher.
    row_mm = [4.2 + 2.2 * label.count("\n") for label in labels]
    centre_mm = np.cumsum(row_mm) - np.array(row_mm) / 2
    shown = {row.category for row in rows}
    has_procedure = any(row.procedure for row in rows)
    legend_lines = len(shown) + 3 + has_procedure
    height = (
        sum(row_mm)
        + 13
        + (3.6 if is_wide else 3.4) * (math.ceil(legend_lines / 2) if is_wide else legend_lines)
    )
    figure = new_figure(width_mm, height)
    axes = figure.subplots()
    axes.set_label("forest")
    best = max(
        (row for row in rows if row.category is Category.IMAGES and not math.isnan(row.value)),
        key=lambda row: row.value,
        default=None,
    )
    low, high = _limits(rows, drawable.metric_limits)
    for number, row in enumerate(rows):
        if row.value < low:
            _draw_arrow(axes, number, centre_mm[number], row, low + 0.006 * (high - low))
        else:
            _draw_row(axes, number, centre_mm[number], row)
    networks = sum(row.category is Category.NETWORK for row in rows)
    if 0 < networks < len(rows):
        axes.axhline(sum(row_mm[:networks]), color=FAINT, linewidth=0.6)
    if best is not None:
        axes.axvline(
            best.value,
            color=LOOKS[Category.IMAGES].colour,
            linestyle=(0, (4, 2)),
            linewidth=0.9,
            zorder=1,
            label="best image baseline",
        )
    axes.set_yticks(centre_mm, labels, fontsize=size)
    axes.set_ylim(sum(row_mm) + 0.5, 0)
    axes.set_xlim(low, high)
    axes.set_xlabel(drawable.metric_label)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    _numbers(axes, rows, centre_mm, COLUMNS[: 1 if not is_wide else 2 + has_procedure])
    handles = _legend(rows, best, has_procedure)
    figure.legend(handles=handles, loc="outside lower left", ncols=2 if is_wide else 1)
    return figure


def _draw_row(axes: Axes, number: int, y_mm: float, row: ForestRow) -> None:
    """One variant or baseline: its intervals, its folds, its pooled value."""
    look = LOOKS[row.category]
    if row.procedure is not None:
        _bar(axes, row.procedure, y_mm, look.colour, THIN, f"procedure {number}")
    _bar(axes, row.networks, y_mm, look.colour, THICK, f"models {number}")
    axes.plot(
        row.fold_values,
        np.full(len(row.fold_values), y_mm + BELOW_MM),
        linestyle="none",
        marker="o",
        markersize=2.4,
        markerfacecolor="white",
        markeredgecolor=INK,
        markeredgewidth=0.5,
        zorder=4,
        label=f"folds {number}",
    )
    axes.plot(
        [row.value],
        [y_mm],
        linestyle="none",
        marker=look.marker,
        markersize=5,
        color=look.colour,
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=5,
        label=f"value {number}",
    )


def _draw_arrow(axes: Axes, number: int, y_mm: float, row: ForestRow, x: float) -> None:
    """Far below the rest it would squeeze everything else: an arrow, and its value in print."""
    colour = LOOKS[row.category].colour
    axes.plot([x], [y_mm], marker="<", markersize=4, color=colour, label=f"arrow {number}")


def _bar(axes: Axes, ends: Ends, y_mm: float, colour: str, width: float, label: str) -> None:
    axes.plot(
        ends,
        [y_mm, y_mm],
        color=colour,
        linewidth=width,
        alpha=0.55 if width == THICK else 1.0,
        solid_capstyle="butt",
        marker="|" if width == THIN else None,
        markersize=4,
        markeredgewidth=width,
        zorder=2,
        label=label,
    )


def _numbers(
    axes: Axes,
    rows: Sequence[ForestRow],
    centre_mm: FloatArray,
    columns: Sequence[tuple[int, str]],
) -> None:
    """The same in numbers, to the right of the axes."""
    for place, (offset, heading) in enumerate(columns):
        axes.annotate(
            heading,
            (1, 1),
            xycoords="axes fraction",
            xytext=(offset, 2),
            textcoords="offset points",
            fontsize=SMALL,
            fontweight="bold",
            color=SOFT,
        )
        for y_mm, row in zip(centre_mm, rows, strict=True):
            axes.annotate(
                (_three(row.value), _from_to(row.networks), _from_to(row.procedure))[place],
                (1, y_mm),
                xycoords=("axes fraction", "data"),
                xytext=(offset, 0),
                textcoords="offset points",
                fontsize=SMALL,
                va="center",
            )


def _three(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}".replace("-", "−")


def _from_to(ends: Ends | None) -> str:
    return "" if ends is None or math.isnan(ends[0]) else f"{_three(ends[0])}–{_three(ends[1])}"


def _legend(rows: Sequence[ForestRow], best: ForestRow | None, has_procedure: bool) -> list[Artist]:
    """What each mark means, whatever stands in the rows."""
    present = {row.category for row in rows}
    handles: list[Artist] = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=LOOKS[category].marker,
            color=LOOKS[category].colour,
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            label=f"{category.value}, pooled over folds",
        )
        for category in Category
        if category in present
    ]
    handles.append(Line2D([], [], color=SOFT, alpha=0.55, linewidth=THICK, label=NETWORKS))
    if has_procedure:
        handles.append(
            Line2D([], [], color=SOFT, linewidth=THIN, marker="|", markersize=4, label=PROCEDURE)
        )
    handles.append(
        Line2D(
            [],
            [],
            linestyle="none",
            marker="o",
            markersize=2.4,
            markerfacecolor="white",
            markeredgecolor=INK,
            markeredgewidth=0.5,
            label="Single fold",
        )
    )
    if best is not None:
        handles.append(
            Line2D(
                [],
                [],
                color=LOOKS[Category.IMAGES].colour,
                linestyle=(0, (4, 2)),
                linewidth=0.9,
                label=f"Best image baseline: {wrapped(best.label, 32, 1)}",
            )
        )
    return handles


def _limits(rows: Sequence[ForestRow], possible: Ends) -> Ends:
    """From a little below the lowest thing that is drawn to a little above the highest.

    Look-ups and controls that lie far below the networks and image baselines are left out.
    """

    def drawn(row: ForestRow) -> list[float]:
        return [row.value, *row.networks, *(row.procedure or ()), *row.fold_values]

    main = [row for row in rows if row.category in (Category.NETWORK, Category.IMAGES)] or rows
    values = [value for row in main for value in drawn(row) if not math.isnan(value)]
    if not values:
        return possible
    low, high = min(values), max(values)
    others = [value for row in rows for value in drawn(row) if not math.isnan(value)]
    if high - min(others) <= 3 * max(high - low, 0.1):
        low = min(others)
    high = max(others)
    margin = max(0.02, 0.05 * (high - low))
    tolerance = 0.02 * (possible[1] - possible[0])
    return max(possible[0] - tolerance, low - margin), min(possible[1] + tolerance, high + margin)
