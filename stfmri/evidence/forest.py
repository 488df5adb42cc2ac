"""The forest plot: macro F1 of every variant with its interval, the baselines as lines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stfmri.evidence.style import BLUE, FAINT, GRID, VERMILLION, DrawnFigure
from stfmri.evidence.summary import Results, Summary

# What is drawn of a large sweep; the tables always hold everything.
MOST_ROWS = 60


def forest(results: Results) -> DrawnFigure:
    """Macro F1 of every variant with its interval, the baselines as lines."""
    ranked = results.ranked()
    shown = ranked[:MOST_ROWS]
    figure = Figure(figsize=(7.6, 1.5 + 0.34 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for position, summary in enumerate(shown):
        _forest_row(axes, position, summary)
    source_only = results.baselines["source_only"].overall["macro_f1"]
    majority = results.baselines["majority"].overall["macro_f1"]
    low, high = _forest_limits(shown, source_only.pooled)
    _baseline_line(axes, source_only.pooled, "Source only", VERMILLION, "--")
    # Far below the rest it would squeeze everything else; its value then stands in the legend.
    off_scale = " (off scale)" if majority.pooled < low else ""
    _baseline_line(axes, majority.pooled, "Majority class", FAINT, ":", off_scale)
    axes.set_yticks(range(len(shown)), [summary.tally.label for summary in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(low, high)
    axes.set_xlabel("Macro F1")
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    # Both baselines get a legend entry, so that no label collides with a point.
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper center",
        ncols=4,
        frameon=False,
        columnspacing=1.4,
        handlelength=1.6,
    )
    caption = (
        "Dot: macro F1 of the predictions pooled over folds; bar: its 95 % interval, by bootstrap "
        "over patients. Small rings: the single folds. Lines: look-up tables that see no image."
    )
    if len(ranked) > len(shown):
        caption += f" The best {len(shown)} of {len(ranked)} variants are drawn."
    return DrawnFigure("forest_macro_f1", "Macro F1 with 95 % intervals", caption, figure)


def _forest_row(axes: Axes, position: int, summary: Summary) -> None:
    """One variant: its folds, its interval, its pooled value."""
    estimate = summary.overall["macro_f1"]
    first = position == 0
    axes.plot(
        [estimate.low, estimate.high],
        [position, position],
        color=BLUE,
        linewidth=2.2,
        solid_capstyle="round",
        zorder=3,
    )
    axes.plot(
        summary.fold_macro_f1,
        np.full(len(summary.fold_macro_f1), position),
        linestyle="none",
        marker="o",
        markersize=4.5,
        markerfacecolor="white",
        markeredgecolor=FAINT,
        zorder=4,
        label="Single fold" if first else None,
    )
    axes.plot(
        [estimate.pooled],
        [position],
        linestyle="none",
        marker="o",
        markersize=7,
        color=BLUE,
        markeredgecolor="white",
        zorder=5,
        label="Pooled, 95 % interval" if first else None,
    )


def _baseline_line(
    axes: Axes, value: float, label: str, colour: str, dashes: str, remark: str = ""
) -> None:
    if not math.isnan(value):
        words = f"{label} {value:.3f}{remark}"
        axes.axvline(value, color=colour, linestyle=dashes, linewidth=1.6, label=words)


def _forest_limits(shown: Sequence[Summary], source_only: float) -> tuple[float, float]:
    """From a little below the lowest thing drawn to a little above the highest, within [0, 1]."""
    values = [source_only]
    for summary in shown:
        estimate = summary.overall["macro_f1"]
        values += [estimate.low, estimate.high, *summary.fold_macro_f1]
    low, high = np.nanmin(values), np.nanmax(values)
    margin = max(0.02, 0.06 * (high - low))
    return max(-0.02, low - margin), min(1.02, high + margin)
