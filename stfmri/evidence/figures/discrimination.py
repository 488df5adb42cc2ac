"""ROC and precision–recall curves of each class, with their spread over folds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stfmri.evidence import metrics
from stfmri.evidence.figures.inputs import Category, Drawable
from stfmri.evidence.figures.record import DrawnFigure, FigureKind
from stfmri.evidence.figures.style import (
    DOUBLE_MM,
    FAINT,
    LOOKS,
    NETWORK_LOOKS,
    SCREEN_MM,
    SMALL,
    Look,
    label_outer,
    letters_in,
    new_figure,
    panels,
    wrapped,
)
from stfmri.evidence.metrics.curves import Curve, precision_recall, roc
from stfmri.evidence.metrics.record import FloatArray, Scores
from stfmri.evidence.predicted import Predicted

MOST_CLASSES = 12


@dataclass(frozen=True)
class _Sort:
    """What tells the two kinds of curves apart."""

    name: str
    title: str
    x_label: str
    y_label: str
    area: str
    chance: str
    chance_of: Callable[[float], tuple[float, float]]  # at both ends, from the class's share
    start: tuple[float, ...]  # where a line begins before x = 0, both of x and y
    legend_at: Literal["lower right", "best"]
    curve_of: Callable[[Scores, int], Curve]
    area_of: Callable[[Scores, FloatArray], FloatArray]


_ROC = _Sort(
    "roc",
    "ROC curves by class",
    "1 − specificity",
    "Sensitivity",
    "AUC",
    "Chance",
    lambda share: (0.0, 1.0),  # noqa: ARG005
    (0.0,),
    "lower right",
    roc,
    metrics.auc,
)
_PRECISION_RECALL = _Sort(
    "precision_recall",
    "Precision–recall curves by class",
    "Recall",
    "Precision",
    "AP",
    "Chance: the share of the class",
    lambda share: (share, share),
    (),
    "best",
    precision_recall,
    metrics.average_precision,
)


@dataclass(frozen=True)
class _Line:
    """One variant or baseline, how it is drawn, and its area for each class; NaN if undefined."""

    one: Predicted
    look: Look
    area_K: FloatArray


def _draw(sort: _Sort, drawable: Drawable) -> Iterator[DrawnFigure]:
    """One panel a class: the leading networks and the best image baseline."""
    if not drawable.variants:
        return
    shown = list(zip(drawable.variants, NETWORK_LOOKS, strict=False))
    baseline = drawable.best_baseline(Category.IMAGES)
    if baseline is not None:
        shown.append((baseline, LOOKS[Category.IMAGES]))
    compared = [
        _Line(one, look, sort.area_of(one.scores, np.ones((1, len(one.label_N))))[0])
        for one, look in shown
    ]
    caption = f"Each class against the others. {sort.area}: mean over folds."
    if len(drawable.variants[0].folds) > 1:
        caption += " Lines are means over folds, bands reach from the lowest to the highest fold."
    if len(drawable.variants) > len(NETWORK_LOOKS):
        caption += f" The best {len(NETWORK_LOOKS)} of {len(drawable.variants)} variants are drawn."
    if len(drawable.classes) > MOST_CLASSES:
        caption += f" The first {MOST_CLASSES} of {len(drawable.classes)} classes are drawn."
    yield DrawnFigure(
        sort.name,
        sort.title,
        caption,
        _figure(sort, drawable.classes, compared, DOUBLE_MM),
        _figure(sort, drawable.classes, compared, SCREEN_MM),
    )


def draw_roc(drawable: Drawable) -> Iterator[DrawnFigure]:
    """ROC curves; none without a variant."""
    return _draw(_ROC, drawable)


def draw_precision_recall(drawable: Drawable) -> Iterator[DrawnFigure]:
    """Precision–recall curves; none without a variant."""
    return _draw(_PRECISION_RECALL, drawable)


ROC = FigureKind(_ROC.name, "ROC curves", draw_roc)
PRECISION_RECALL = FigureKind(
    _PRECISION_RECALL.name, "Precision–recall curves", draw_precision_recall
)


def _figure(
    sort: _Sort,
    classes: Sequence[str],
    compared: Sequence[_Line],
    width_mm: float,
) -> Figure:
    classes = classes[:MOST_CLASSES]
    columns = min(len(classes), (4 if len(classes) > 3 else 3) if width_mm == DOUBLE_MM else 2)
    side = min((width_mm - 13) / columns - 3, 60.0)
    titles = [wrapped(name, letters_in(side, is_bold=True)) for name in classes]
    title_mm = 5 + 3 * any("\n" in title for title in titles)
    lines = -(-len(classes) // columns)
    under_mm = 5 if len(classes) % columns else 0  # names of axes above an empty panel
    legend_columns = 2 if width_mm == DOUBLE_MM else 1
    legend_mm = 3.6 * -(-(len(compared) + 1) // legend_columns)
    figure = new_figure(width_mm, lines * (side + title_mm + 2) + 10 + under_mm + legend_mm)
    drawn = panels(figure, len(classes), columns)
    for number, axes in enumerate(drawn):
        axes.set_title(titles[number])
        axes.set_label(f"{sort.name} {number}")
        _panel(axes, sort, number, compared)
    label_outer(drawn, columns, sort.x_label, sort.y_label)
    handles = [
        Line2D(
            [],
            [],
            color=line.look.colour,
            linestyle=line.look.dashes,
            label=wrapped(line.one.label, 40, 1),
        )
        for line in compared
    ]
    handles.append(Line2D([], [], color=FAINT, linewidth=0.8, label=sort.chance))
    figure.legend(handles=handles, loc="outside lower left", ncols=legend_columns)
    return figure


def _panel(axes: Axes, sort: _Sort, number: int, compared: Sequence[_Line]) -> None:
    """The curves of one class."""
    handles = []
    for line in compared:
        curve = sort.curve_of(line.one.scores, number)
        if not curve.folds:
            continue
        colour, dashes = line.look.colour, line.look.dashes
        axes.plot(
            [*sort.start, *curve.x],
            [*sort.start, *curve.mean],
            color=colour,
            linestyle=dashes,
            label=line.one.name,
            zorder=3,
        )
        if curve.folds > 1:
            axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.13, linewidth=0)
        area = line.area_K[number]
        words = f"{sort.area} –" if math.isnan(area) else f"{sort.area} {area:.3f}"
        handles.append(Line2D([], [], color=colour, linestyle=dashes, label=words))
    share = float((compared[0].one.label_N == number).mean())
    axes.plot([0, 1], sort.chance_of(share), color=FAINT, linewidth=0.8, zorder=1, label="chance")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), box_aspect=1)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.grid()
    if handles:
        legend = axes.legend(
            handles=handles,
            loc=sort.legend_at,
            fontsize=SMALL,
            handlelength=1.8,
            frameon=True,
            framealpha=0.75,
            borderpad=0.3,
        )
        legend.get_frame().set_linewidth(0)
    else:
        axes.text(0.5, 0.5, "no fold tests this class", ha="center", fontsize=SMALL)
