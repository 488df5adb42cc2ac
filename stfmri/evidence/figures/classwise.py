"""Class-wise scores as heat maps: one panel a class, a row for each variant and baseline."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from stfmri.evidence.figures.heatmap import heatmap
from stfmri.evidence.figures.inputs import Category, ClassRow, ClassScores, Drawable
from stfmri.evidence.figures.record import DrawnFigure, FigureKind
from stfmri.evidence.figures.style import (
    DOUBLE_MM,
    INK,
    MOST_HEIGHT_MM,
    SCREEN_MM,
    SMALL,
    letters_in,
    new_figure,
    panels,
    width_of,
    wrapped,
)

ROW_MM = 3.6
MOST_ON_A_SCREEN = 24  # rows
LABEL_LETTERS = 34


def draw(drawable: Drawable) -> Iterator[DrawnFigure]:
    """The heat maps; none without scores."""
    scores = drawable.class_scores
    if scores is None or not scores.rows:
        return
    columns = min(len(drawable.classes), 3 if len(drawable.classes) <= 3 else 4)
    lines = math.ceil(len(drawable.classes) / columns)
    fitting = int((MOST_HEIGHT_MM - 4) / lines / ROW_MM) - 6
    wide, left_out = _chosen(scores.rows, fitting)
    narrow, _ = _chosen(scores.rows, MOST_ON_A_SCREEN)
    caption = "Means over folds; – is undefined. Below the line: the baselines."
    if left_out:
        caption += f" Of the variants, the last {left_out} are left out; the tables hold them."
    yield DrawnFigure(
        "classwise",
        "Class-wise performance",
        caption,
        _figure(drawable.classes, scores, wide, columns, DOUBLE_MM),
        _figure(drawable.classes, scores, narrow, 1, SCREEN_MM),
    )


CLASSWISE = FigureKind("classwise", "Class by class", draw)


def _chosen(rows: Sequence[ClassRow], most: int) -> tuple[list[ClassRow], int]:
    """Rows that fit, every baseline among them; and how many variants do not."""
    variants = [row for row in rows if row.category is Category.NETWORK]
    baselines = [row for row in rows if row.category is not Category.NETWORK]
    kept = variants[: max(most - len(baselines), 1)]
    return [*kept, *baselines], len(variants) - len(kept)


def _figure(
    classes: Sequence[str],
    scores: ClassScores,
    rows: Sequence[ClassRow],
    columns: int,
    width_mm: float,
) -> Figure:
    labels = [
        wrapped(row.label, min(LABEL_LETTERS, letters_in(0.33 * width_mm, SMALL)), 1)
        for row in rows
    ]
    side = (width_mm - max(width_of(label, SMALL) for label in labels)) / columns
    titles = [wrapped(name, letters_in(side - 3, is_bold=True)) for name in classes]
    title_mm = 6 + 3 * any("\n" in title for title in titles)
    lines = math.ceil(len(classes) / columns)
    cell = side / len(scores.metrics)
    is_turned = max(width_of(label, SMALL) for label in scores.metrics) > cell - 1
    below = 10 if is_turned else 4
    figure = new_figure(width_mm, lines * (ROW_MM * len(rows) + title_mm + below) + 3)
    networks = sum(row.category is Category.NETWORK for row in rows)
    for number, axes in enumerate(panels(figure, len(classes), columns, sharex=False)):
        values = np.array([row.value_KM[number] for row in rows], dtype=float)
        digits = 3 if cell > 8 else 2
        heatmap(axes, values, [[_number(value, digits) for value in row] for row in values])
        axes.set_label(f"classwise {number}")
        axes.set_title(titles[number])
        positions = np.arange(len(scores.metrics)) + 0.5
        axes.set_xticks(positions, scores.metrics, rotation=40 if is_turned else 0)
        if is_turned:
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        axes.set_yticks(np.arange(len(rows)) + 0.5, labels, rotation=0)
        if networks < len(rows):
            axes.axhline(networks, color=INK, linewidth=0.8)
    return figure


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"
