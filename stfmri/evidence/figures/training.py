"""Training curves: the loss of every epoch, one panel a variant, one line a fold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from stfmri.evidence.figures.inputs import Drawable, TrainedRuns
from stfmri.evidence.figures.record import DrawnFigure, FigureKind
from stfmri.evidence.figures.style import (
    BLUE,
    DOUBLE_MM,
    SCREEN_MM,
    SINGLE_MM,
    VERMILLION,
    Look,
    label_outer,
    letters_in,
    new_figure,
    panels,
    wrapped,
)

# What is drawn of a large sweep.
MOST_CURVES = 12
# Columns of metrics.csv, what they are called, and how they are drawn.
LOSSES = (
    ("train_loss", "Training", Look(BLUE, "o")),
    ("val_loss", "Validation", Look(VERMILLION, "s", (0, (3, 1.2)))),
)


def draw(drawable: Drawable) -> Iterator[DrawnFigure]:
    """Losses by epoch; none where no run recorded any."""
    trained = [one for one in drawable.training if any("epoch" in run for run in one.runs)]
    if not trained:
        return
    shown = trained[:MOST_CURVES]
    caption = "One line a fold. A loss still falling at the end asks for more epochs."
    if len(shown) < len(trained):
        caption += f" The best {len(shown)} of {len(trained)} variants are drawn."
    yield DrawnFigure(
        "training",
        "Loss by epoch",
        caption,
        _figure(shown, DOUBLE_MM if len(shown) > 1 else SINGLE_MM),
        _figure(shown, SCREEN_MM) if len(shown) > 1 else None,
    )


TRAINING = FigureKind("training", "Training", draw)


def _figure(shown: Sequence[TrainedRuns], width_mm: float) -> Figure:
    columns = min(len(shown), 4 if width_mm == DOUBLE_MM else 2)
    if len(shown) == 3 and width_mm == DOUBLE_MM:
        columns = 3
    lines = math.ceil(len(shown) / columns)
    side = (width_mm - 8) / columns
    figure = new_figure(width_mm, lines * min(side * 0.75 + 6, 50) + 10)
    recorded = [loss for loss in LOSSES if any(loss[0] in run for one in shown for run in one.runs)]
    drawn = panels(figure, len(shown), columns)
    for axes, one in zip(drawn, shown, strict=True):
        for column, _, look in recorded:
            for run in one.runs:
                if "epoch" in run and column in run:
                    axes.plot(
                        run["epoch"],
                        run[column],
                        color=look.colour,
                        linestyle=look.dashes,
                        linewidth=0.8,
                        alpha=0.8,
                        marker=look.marker if len(run["epoch"]) == 1 else None,
                        markersize=3,
                        label=column,
                    )
        axes.set_label(f"training {one.label}")
        axes.set_title(wrapped(one.label, letters_in(side - 4, is_bold=True)))
        axes.grid()
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    label_outer(drawn, columns, "Epoch", "Loss")
    handles = [
        Line2D([], [], color=look.colour, linestyle=look.dashes, label=words)
        for _, words, look in recorded
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=2)
    return figure
