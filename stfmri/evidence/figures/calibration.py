"""The reliability diagram: whether a confidence of 80 % is right in 80 % of cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stfmri.evidence import metrics
from stfmri.evidence.figures.inputs import Category, Drawable
from stfmri.evidence.figures.record import DrawnFigure, FigureKind
from stfmri.evidence.figures.style import (
    FAINT,
    LOOKS,
    NORMAL,
    SINGLE_MM,
    Look,
    letters_in,
    new_figure,
    wrapped,
)
from stfmri.evidence.metrics.curves import Reliability, reliability
from stfmri.evidence.predicted import Predicted

# A share among fewer predictions is drawn hollow.
FEW = 10


def draw(drawable: Drawable) -> Iterator[DrawnFigure]:
    """The leading variant beside the best image baseline; none without a variant."""
    if not drawable.variants:
        return
    compared = [(drawable.variants[0], LOOKS[Category.NETWORK])]
    baseline = drawable.best_baseline(Category.IMAGES)
    if baseline is not None:
        compared.append((baseline, LOOKS[Category.IMAGES]))
    yield DrawnFigure(
        "reliability",
        "Reliability of the probabilities",
        "Share of right predictions against the probability of the predicted class, in "
        "bins of equal width; on the diagonal the probabilities can be taken at their "
        f"word. Hollow: fewer than {FEW} predictions. Below: how many predictions have which "
        "probability. ECE: expected calibration error, the mean distance from the diagonal, of all "
        "folds together; the table has its mean over folds.",
        _figure(compared),
    )


RELIABILITY = FigureKind("reliability", "Calibration", draw)


def _figure(compared: Sequence[tuple[Predicted, Look]]) -> Figure:
    side = (SINGLE_MM - 8) / len(compared)
    figure = new_figure(SINGLE_MM, min(side, 60) * 1.32 + 22)
    grid = figure.subplots(
        2, len(compared), squeeze=False, sharex=True, sharey="row", height_ratios=(3.2, 1)
    )
    for number, (one, look) in enumerate(compared):
        upper, lower = grid[:, number]
        found = reliability(one.scores)
        error = float(metrics.ece(one.scores, np.ones((1, len(one.label_N))))[0])
        letters = letters_in(side - 4, is_bold=True)
        upper.set_title(f"{wrapped(one.label, letters)}\nECE {error:.3f}")
        _diagram(upper, found, look)
        lower.stairs(found.count, found.edges, fill=True, color=look.colour, alpha=0.55)
        lower.grid(axis="y")
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True, steps=[1, 2, 5, 10]))
        upper.set_label(f"reliability {one.name}")
        lower.set_label(f"confidence {one.name}")
    grid[0, 0].set_ylabel("Share right")
    grid[1, 0].set_ylabel("Predictions")
    figure.supxlabel("Probability of the predicted class", fontsize=NORMAL)
    return figure


def _diagram(axes: Axes, found: Reliability, look: Look) -> None:
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, label="diagonal")
    many = found.count >= FEW
    axes.plot(found.confidence[many], found.accuracy[many], color=look.colour, label="shares")
    for words, chosen, face in (
        ("many", many, look.colour),
        ("few", (found.count > 0) & ~many, "white"),
    ):
        (marks,) = axes.plot(
            found.confidence[chosen],
            found.accuracy[chosen],
            linestyle="none",
            marker=look.marker,
            markersize=4.5,
            markerfacecolor=face,
            markeredgecolor=look.colour,
            clip_on=False,
            zorder=3,
            label=words,
        )
        # Where there are none, they have no place that the layout could make room for.
        marks.set_in_layout(False)
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.grid()
