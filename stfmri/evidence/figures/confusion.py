"""Confusion matrices side by side, in the same shades."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from stfmri.evidence import metrics
from stfmri.evidence.figures.heatmap import heatmap
from stfmri.evidence.figures.inputs import Category, Drawable
from stfmri.evidence.figures.record import DrawnFigure, FigureKind
from stfmri.evidence.figures.style import (
    DOUBLE_MM,
    INK,
    MOST_HEIGHT_MM,
    NORMAL,
    SCREEN_MM,
    SHADES,
    SINGLE_MM,
    SMALL,
    letters_in,
    new_figure,
    panels,
    width_of,
    wrapped,
)
from stfmri.evidence.predicted import Predicted

MOST_MATRICES = 12
# So many of the best variants have a file of their own; tables/confusion.csv holds every one.
MOST_FILES = 6
LABEL_LETTERS = 14
# Side of a cell in mm: share and count need at least so much, then the share alone.
SHARE_AND_COUNT, SHARE = 6.0, 4.0
ROOMY_CELL, LARGEST_CELL = 9.0, 11.0
GAP_MM, BAR_MM = 3.0, 15.0
NARROWEST_MM = 30.0  # so that a title is readable
MOST_ON_A_SCREEN_MM = 2000.0


def draw(drawable: Drawable) -> Iterator[DrawnFigure]:
    """All in one figure, then each variant by itself."""
    baselines = [drawable.best_baseline(category) for category in Category]
    compared = [one for one in baselines if one is not None]
    if not drawable.variants and not compared:
        return
    classes = drawable.classes
    names = [wrapped(name, LABEL_LETTERS) for name in classes]
    most = max(MOST_MATRICES - len(compared), 1)
    while True:
        shown = [*drawable.variants[:most], *compared]
        layout = _layout(names, [one.label for one in shown], DOUBLE_MM, MOST_HEIGHT_MM)
        if layout.cell >= SHARE_AND_COUNT or most <= 1:
            break
        most -= 1
    caption = "Per cent of each true class, and counts pooled over folds below."
    if compared:
        caption += " Of each kind of baseline the best."
    if most < len(drawable.variants):
        caption += f" The best {most} of {len(drawable.variants)} variants are drawn."
    on_screen = _layout(names, [one.label for one in shown], SCREEN_MM, MOST_ON_A_SCREEN_MM)
    yield DrawnFigure(
        "confusion",
        "Confusion matrices",
        caption,
        _figure(names, shown, layout),
        _figure(names, shown, on_screen),
    )
    for variant in drawable.variants[:MOST_FILES]:
        width = SINGLE_MM if len(classes) <= 8 else DOUBLE_MM
        alone = _layout(names, [variant.label], width, MOST_HEIGHT_MM)
        yield DrawnFigure(
            f"confusion_{file_part(variant.name)}",
            f"Confusion matrix of {variant.label}",
            "Per cent of each true class, and counts pooled over folds below.",
            _figure(names, [variant], alone),
            on_page=False,
        )


CONFUSION = FigureKind("confusion", "Confusion matrices", draw)


def file_part(name: str) -> str:
    """A variant's name as part of a file's name; of names that look alike in it, each its own."""
    part = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)
    # A sweep's own variants are called so that this tells them apart.
    is_plain = re.fullmatch(r"[A-Za-z0-9._+-]*", name)
    return part if is_plain else f"{part}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class _Layout:
    """Where matrices stand: sizes in mm, and the titles in lines that fit."""

    width: float
    height: float
    columns: int
    cell: float
    is_turned: bool  # names below the columns stand upright
    titles: tuple[str, ...]


def _layout(
    names: Sequence[str], labels: Sequence[str], width_mm: float, most_height_mm: float
) -> _Layout:
    """The lowest layout with roomy cells; else with the largest that fit, or the lowest of all."""
    name_mm = max(width_of(name, SMALL) for name in names)
    room = width_mm - name_mm - 9  # a label of the axis, and pads
    found = []
    for columns in range(1, len(labels) + 1):
        side = (room - GAP_MM * (columns - 1)) / columns
        if columns > 1 and side < NARROWEST_MM:
            break
        cell = max(min(side / len(names), LARGEST_CELL), 0.5)
        titles = tuple(
            wrapped(label, letters_in(side, NORMAL, is_bold=True), 3) for label in labels
        )
        is_turned = name_mm > cell - 0.5
        below = (name_mm if is_turned else 5.0) + 9
        lines = math.ceil(len(labels) / columns)
        in_line = [titles[start : start + columns] for start in range(0, len(titles), columns)]
        title_mm = sum(3 * max(title.count("\n") for title in line) + 6 for line in in_line)
        height = lines * cell * len(names) + title_mm + below + BAR_MM
        found.append(_Layout(width_mm, height, columns, cell, is_turned, titles))
    fitting = [one for one in found if one.height <= most_height_mm]
    if not fitting:
        return min(found, key=lambda one: one.height)
    return max(fitting, key=lambda one: (min(one.cell, ROOMY_CELL), -one.height))


def _figure(names: Sequence[str], shown: Sequence[Predicted], layout: _Layout) -> Figure:
    figure = new_figure(layout.width, layout.height)
    drawn = panels(figure, len(shown), layout.columns)
    rotation = 90 if layout.is_turned else 0
    positions = np.arange(len(names)) + 0.5
    for axes, one, title in zip(drawn, shown, layout.titles, strict=True):
        _matrix(axes, one.pooled.astype(float), layout.cell)
        axes.set_label(f"confusion {one.name}")
        axes.set_title(title)
        axes.set_xticks(positions, names, rotation=rotation)
        axes.set_yticks(positions, names, rotation=0)
    lines = math.ceil(len(shown) / layout.columns)
    for axes in drawn[max(0, len(shown) - layout.columns) : (lines - 1) * layout.columns]:
        # The empty panel below leaves room for names; as tick labels they would push it down.
        for position, name in zip(positions, names, strict=True):
            axes.annotate(
                name,
                (position, len(names)),
                xytext=(0, -2),
                textcoords="offset points",
                ha="center",
                va="top",
                rotation=rotation,
                fontsize=SMALL,
            ).set_in_layout(False)
    figure.supxlabel("Predicted class", fontsize=NORMAL)
    figure.supylabel("True class", fontsize=NORMAL)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), SHADES),
        ax=drawn,
        location="top",
        label="Share of the true class",
        format=PercentFormatter(1, symbol=" %"),
        aspect=30,
        pad=2 / layout.height,
        shrink=min(1.0, 55 / layout.width),
    )
    bar.outline.set_visible(False)
    return figure


def _matrix(axes: Axes, counts: metrics.FloatArray, cell: float) -> None:
    """One matrix, shaded by the share of its row."""
    shares = metrics.row_shares(counts)
    text = [
        [_text(share, count, cell) for share, count in zip(*rows, strict=True)]
        for rows in zip(shares, counts, strict=True)
    ]
    heatmap(axes, shares, text)
    axes.set_aspect("equal")
    for spine in axes.spines.values():
        spine.set(visible=True, color=INK, linewidth=0.4)


def _text(share: float, count: float, cell: float) -> str:
    """`82 %` above `18`; the count alone in a row without a scan; less where a cell is small."""
    if cell < SHARE:
        return " "
    if math.isnan(share):
        return f"{count:.0f}"
    percent = f"{100 * share:.0f}"
    if cell < SHARE_AND_COUNT:
        return percent
    return f"{percent} %\n{count:.0f}" if cell > 8.5 else f"{percent}\n{count:.0f}"
