"""ROC and precision–recall curves of each class, with their spread over folds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stfmri.evidence.figures.curves import (
    Curve,
    auc,
    average_precision,
    precision_recall,
    roc,
)
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
from stfmri.evidence.metrics.record import Scores
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
    legend_at: str
    curve_of: Callable[[Scores, int], Curve]
    area_of: Callable[[Scores, int], float]


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
    auc,
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
    average_precision,
)


def _draw(sort: _Sort, drawable: Drawable) -> Iterator[DrawnFigure]:
    """One panel a class: the leading networks and the best image baseline."""
    compared = list(zip(drawable.variants, NETWORK_LOOKS, strict=False))
    baseline = drawable.best_baseline(Category.IMAGES)
    if baseline is not None:
        compared.append((baseline, LOOKS[Category.IMAGES]))
    if not drawable.variants:
        return
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
    compared: Sequence[tuple[Predicted, Look]],
    width_mm: float,
) -> Figure:
    classes = classes[:MOST_CLASSES]
    columns = min(len(classes), (4 if len(classes) > 3 else 3) if width_mm == DOUBLE_MM else 2)
    side = min((width_mm - 8) / columns, 60.0)
    lines = -(-len(classes) // columns)
    legend_columns = 2 if width_mm == DOUBLE_MM else 1
    legend_mm = 3.6 * -(-(len(compared) + 1) // legend_columns)
    figure = new_figure(width_mm, lines * (side + 2) + 6 + legend_mm)
    drawn = panels(figure, len(classes), columns)
    for number, axes in enumerate(drawn):
        axes.set_title(wrapped(classes[number], letters_in(side - 6)))
        axes.set_label(f"{sort.name} {number}")
        _panel(axes, sort, number, compared)
    label_outer(drawn, columns, sort.x_label, sort.y_label)
    handles = [
        Line2D([], [], color=look.colour, linestyle=look.dashes, label=wrapped(one.label, 40, 1))
        for one, look in compared
    ]
    handles.append(Line2D([], [], color=FAINT, linewidth=0.8, label=sort.chance))
    figure.legend(handles=handles, loc="outside lower left", ncols=legend_columns)
    return figure


def _panel(
    axes: Axes, sort: _Sort, number: int, compared: Sequence[tuple[Predicted, Look]]
) -> None:
    """The curves of one class."""
    handles = []
    for one, look in compared:
        curve = sort.curve_of(one.scores, number)
        if not curve.folds:
            continue
        style = {"color": look.colour, "linestyle": look.dashes}
        axes.plot(
            [*sort.start, *curve.x], [*sort.start, *curve.mean], label=one.name, zorder=3, **style
        )
        if curve.folds > 1:
            axes.fill_between(
                curve.x, curve.low, curve.high, color=look.colour, alpha=0.13, linewidth=0
            )
        handles.append(
            Line2D([], [], label=f"{sort.area} {sort.area_of(one.scores, number):.3f}", **style)
        )
    share = float((compared[0][0].label_N == number).mean())
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
