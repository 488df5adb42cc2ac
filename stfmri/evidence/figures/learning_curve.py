"""Learning curves: the metric against the number of training subjects."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from stfmri.evidence.figures.inputs import Category, CurvePoint, Drawable, LearningCurve
from stfmri.evidence.figures.record import DrawnFigure, FigureKind
from stfmri.evidence.figures.style import (
    BLUE,
    DOUBLE_MM,
    FAINT,
    GREEN,
    ORANGE,
    PURPLE,
    SCREEN_MM,
    SINGLE_MM,
    SKY,
    VERMILLION,
    Look,
    new_figure,
    panels,
    wrapped,
)

# The best curves of each panel; more could not be told apart.
MOST_CURVES = 6
LOOKS = (
    Look(BLUE, "o"),
    Look(VERMILLION, "s", (0, (5, 1.5))),
    Look(GREEN, "D", (0, (2, 1))),
    Look(PURPLE, "v", (0, (4, 1.2, 1, 1.2))),
    Look(ORANGE, "^", (0, (1, 1))),
    Look(SKY, "P", (0, (6, 1, 2, 1))),
)
# How far neighbouring curves stand apart, as a part of the gap between two numbers of subjects.
APART = 0.07
PANEL_MM = 62.0
LEGEND_MM = 3.6


def draw(drawable: Drawable) -> Iterator[DrawnFigure]:
    """One panel of networks and one of baselines; none where all trained on as many subjects."""
    curves = drawable.learning
    if not curves:
        return
    groups = {
        "Networks": [one for one in curves if one.category is Category.NETWORK],
        "Baselines": [one for one in curves if one.category is not Category.NETWORK],
    }
    shown = {title: some[:MOST_CURVES] for title, some in groups.items() if some}
    caption = (
        f"{drawable.metric_label}, pooled over folds, against the mean number of training subjects "
        "of a fold (logarithmic). Thick bars: 95 % interval for these trained models on new "
        "patients; thin ones: for models trained again in the same way, of several folds. Curves "
        "stand a little apart so that their intervals can be seen. With a fixed number of epochs a "
        "smaller part is trained for fewer steps."
    )
    if any(len(some) > MOST_CURVES for some in groups.values()):
        caption += f" Of each panel the best {MOST_CURVES} are drawn."
    yield DrawnFigure(
        "learning_curve",
        "Score by number of training subjects",
        caption,
        _figure(shown, drawable.metric_label, DOUBLE_MM if len(shown) > 1 else SINGLE_MM),
        _figure(shown, drawable.metric_label, SCREEN_MM) if len(shown) > 1 else None,
    )


LEARNING_CURVE = FigureKind("learning_curve", "Learning curve", draw)


def _figure(shown: dict[str, list[LearningCurve]], metric_label: str, width_mm: float) -> Figure:
    columns = len(shown) if width_mm == DOUBLE_MM else 1
    lines = math.ceil(len(shown) / columns)
    legends = [len(some) for some in shown.values()]
    legend_mm = LEGEND_MM * (max(legends) if columns > 1 else sum(legends))
    figure = new_figure(width_mm, lines * PANEL_MM + legend_mm + 8)
    drawn = panels(figure, len(shown), columns, sharex=False)
    for axes, (title, curves) in zip(drawn, shown.items(), strict=True):
        axes.set_label(f"learning curve {title}")
        axes.set_title(title)
        _panel(axes, curves, letters=44 if columns > 1 else 40)
        axes.set_xlabel("Training subjects")
    for axes in drawn[::columns]:
        axes.set_ylabel(metric_label)
    return figure


def _panel(axes: Axes, curves: Sequence[LearningCurve], letters: int) -> None:
    """The curves of one panel, with their legend below."""
    numbers = sorted({point.subjects for curve in curves for point in curve.points})
    steps = [larger / smaller for smaller, larger in itertools.pairwise(numbers)]
    gap = math.log(min(steps)) if steps else 1.0
    for place, (curve, look) in enumerate(zip(curves, LOOKS, strict=False)):
        shift = math.exp(APART * gap * (place - (len(curves) - 1) / 2))
        places = [point.subjects * shift for point in curve.points]
        axes.plot(
            places,
            [point.value for point in curve.points],
            color=look.colour,
            linestyle=look.dashes,
            marker=look.marker,
            markersize=4,
            markeredgecolor="white",
            markeredgewidth=0.5,
            zorder=3,
            label=wrapped(curve.label, letters, 1),
        )
        for x, point in zip(places, curve.points, strict=True):
            _bars(axes, x, point, look.colour)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([round(number) for number in numbers]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.08)
    axes.grid(axis="y")
    axes.tick_params(labelleft=True)
    axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.2), borderaxespad=0)
    axes.spines["bottom"].set_color(FAINT)


def _bars(axes: Axes, x: float, point: CurvePoint, colour: str) -> None:
    """Both intervals of a point."""
    for ends, width, opacity in ((point.networks, 2.6, 0.35), (point.procedure, 0.8, 0.9)):
        if ends is not None and not math.isnan(ends[0]):
            axes.plot(
                [x, x],
                ends,
                color=colour,
                linewidth=width,
                alpha=opacity,
                solid_capstyle="butt",
                zorder=2,
                label="_interval",
            )
