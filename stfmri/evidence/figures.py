"""Figures: confusion matrices, class-wise heat maps, a forest plot, training curves.

Colours are told apart by colour-blind readers and in grey; the same evidence gives the same bytes.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stfmri.evidence import metrics, paper
from stfmri.evidence.content import file_part
from stfmri.evidence.gather import RunRecord, Tally
from stfmri.evidence.metrics import FloatArray
from stfmri.evidence.summary import Results, Summary

# Okabe & Ito's palette: blue, vermillion, green, and a grey for the text.
BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
INK, FAINT = "#22272e", "#8b949e"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    # Fixed names of clip paths: the same figure is the same file.
    "svg.hashsalt": "stfmri",
}
# What is drawn of a large sweep; tables always hold everything.
MOST_MATRICES = 12
MOST_FOREST_ROWS = 60
MOST_HEATMAP_ROWS = 40
MOST_CURVES = 12
HEATMAP_METRICS = ("precision", "recall", "specificity", "f1")
HEATMAP_LABELS = ("Precision", "Recall", "Specificity", "F1")


@dataclass(frozen=True)
class DrawnFigure:
    """One figure with its file name and what stands below it."""

    name: str
    title: str
    caption: str
    figure: Figure


def draw_all(results: Results) -> Iterator[DrawnFigure]:
    """Draw one figure after the other, the one that people look at first in front."""
    if not results.variants:
        return
    with mpl.rc_context(STYLE):
        yield forest(results)
        yield from confusion_figures(results)
        yield class_heatmaps(results)
        curves = training_curves(results)
        if curves:
            yield curves


def to_png(figure: Figure) -> bytes:
    """Bitmap, 200 dots an inch."""
    return _saved(figure, "png", {"Software": None})


def to_pdf(figure: Figure) -> bytes:
    """Vector graphics for print, without a date."""
    return _saved(figure, "pdf", {"CreationDate": None, "Producer": None, "Creator": None})


def to_svg(figure: Figure) -> bytes:
    """Vector graphics for the report, without a date."""
    return _saved(figure, "svg", {"Date": None, "Creator": None})


def forest(results: Results) -> DrawnFigure:
    """Macro F1 of every variant with its interval, the baselines as lines."""
    ranked = results.ranked()
    shown = ranked[:MOST_FOREST_ROWS]
    figure = Figure(figsize=(7.2, 1.5 + 0.34 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for position, summary in enumerate(shown):
        _forest_row(axes, position, summary)
    source_only = results.baselines["source_only"].overall["macro_f1"]
    majority = results.baselines["majority"].overall["macro_f1"]
    low, high = _forest_limits(shown, source_only.pooled)
    _baseline_line(axes, source_only.pooled, "Source only", VERMILLION, "--")
    # Far below the rest it would squeeze everything else; its value then stands in the legend.
    off_scale = " (left of scale)" if majority.pooled < low else ""
    _baseline_line(axes, majority.pooled, "Majority class", FAINT, ":", off_scale)
    axes.set_yticks(range(len(shown)), [summary.tally.label for summary in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(low, high)
    axes.set_xlabel("Macro F1")
    axes.grid(axis="x", color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    # Both baselines get a legend entry, so that no label collides with a point.
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper right", ncols=4, frameon=False
    )
    caption = (
        "Dot: macro F1 of the predictions pooled over folds; bar: its 95 % interval, by bootstrap "
        "over patients. Small rings: the single folds. Lines: look-up tables that see no image."
    )
    if len(ranked) > len(shown):
        caption += f" The best {len(shown)} of {len(ranked)} variants are drawn."
    return DrawnFigure("forest_macro_f1", "Macro F1 with 95 % intervals", caption, figure)


def confusion_figures(results: Results) -> Iterator[DrawnFigure]:
    """Figures 4–6: one for each model (and further axes), from scratch beside pre-trained."""
    groups: dict[tuple[str, str], list[Tally]] = {}
    for summary in results.ranked():
        groups.setdefault((summary.tally.model, summary.tally.extra), []).append(summary.tally)
    classes = results.evidence.cohort.classes
    for (model, extra), tallies in list(groups.items())[:MOST_MATRICES]:
        tallies.sort(key=lambda tally: tally.weights, reverse=True)  # scratch, then kinetics
        size = max(3.3, 1.6 + 0.55 * len(classes))
        figure = Figure(figsize=(size * len(tallies), size * 0.95), layout="constrained")
        panels = figure.subplots(1, len(tallies), squeeze=False)[0]
        for axes, tally in zip(panels, tallies, strict=True):
            _confusion(axes, tally.pooled.astype(float), classes)
            axes.set_title(tally.label)
        panels[0].set_ylabel("True")
        name = ", ".join(filter(None, [paper.MODEL_NAMES.get(model, model), extra]))
        number = paper.CONFUSION_FIGURE.get(model)
        is_paper = number and not extra and paper.is_paper_task(classes)
        yield DrawnFigure(
            "confusion_" + file_part("-".join(filter(None, [model, extra]))),
            f"Confusion matrices of {name}"
            + (f" (the paper's Figure {number})" if is_paper else ""),
            "",
            figure,
        )


def class_heatmaps(results: Results) -> DrawnFigure:
    """Figure 7: one panel a class, a row for each variant and baseline."""
    shown = [*results.ranked()[:MOST_HEATMAP_ROWS], *results.baselines.values()]
    classes = results.evidence.cohort.classes
    columns = min(len(classes), 3)
    lines = math.ceil(len(classes) / columns)
    figure = Figure(
        figsize=(2.3 + 2.5 * columns, (0.9 + 0.32 * len(shown)) * lines), layout="constrained"
    )
    grid = figure.subplots(lines, columns, squeeze=False)
    for number, axes in enumerate(grid.flat):
        if number >= len(classes):
            axes.set_visible(False)
            continue
        values = np.array(
            [[s.per_class[classes[number]][m].mean for m in HEATMAP_METRICS] for s in shown]
        )
        sns.heatmap(
            values,
            ax=axes,
            annot=_annotations(values),
            fmt="",
            vmin=0.0,
            vmax=1.0,
            cmap="Blues",
            cbar=False,
            linewidths=1.2,
            linecolor="white",
            annot_kws={"fontsize": 8},
            xticklabels=HEATMAP_LABELS,
            yticklabels=[s.tally.label for s in shown] if number % columns == 0 else False,
        )
        _mark_undefined(axes, values)
        axes.set_title(classes[number])
        axes.tick_params(length=0)
        axes.tick_params(axis="x", rotation=25)
        axes.axhline(len(shown) - len(results.baselines), color=INK, linewidth=1)
    number_of = " (the paper's Figure 7)" if paper.is_paper_task(classes) else ""
    return DrawnFigure(
        "class_heatmaps",
        f"Class-wise performance{number_of}",
        "Means over folds. Below the line: the baselines that see no image. – is undefined.",
        figure,
    )


def training_curves(results: Results) -> DrawnFigure | None:
    """Training loss by epoch, one panel a variant, one line a fold; None without any record."""
    names = [summary.tally.name for summary in results.ranked()]
    labels = {summary.tally.name: summary.tally.label for summary in results.variants}
    curves: dict[str, list[tuple[FloatArray, FloatArray]]] = {}
    for name in names[:MOST_CURVES]:
        found = [_loss_curve(record) for record in _records(results, name)]
        if any(curve is not None for curve in found):
            curves[name] = [curve for curve in found if curve is not None]
    if not curves:
        return None
    columns = min(len(curves), 3)
    lines = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(2.6 * columns + 0.4, 2.0 * lines + 0.4), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for number, axes in enumerate(grid.flat):
        axes.set_visible(number < len(curves))
    for axes, (name, folds) in zip(grid.flat, curves.items(), strict=False):
        for fold, (epochs, losses) in enumerate(folds):
            colour = (BLUE, VERMILLION, GREEN, ORANGE)[fold % 4]
            marker = "o" if len(epochs) == 1 else None
            axes.plot(epochs, losses, color=colour, linewidth=1.3, alpha=0.85, marker=marker)
        axes.set_title(labels[name], fontsize=9)
        axes.grid(color="#e6e8eb", linewidth=0.8)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.supxlabel("Epoch", fontsize=9)
    figure.supylabel("Training loss", fontsize=9)
    return DrawnFigure(
        "training_curves",
        "Training loss",
        "One line a fold. A loss still falling at the end asks for more epochs.",
        figure,
    )


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


def _confusion(axes: Axes, counts: FloatArray, classes: Sequence[str]) -> None:
    """One row-normalised confusion matrix with its counts."""
    shares = metrics.row_shares(counts)
    text = [
        [_share_and_count(share, count) for share, count in zip(*rows, strict=True)]
        for rows in zip(shares, counts, strict=True)
    ]
    sns.heatmap(
        shares,
        ax=axes,
        annot=np.array(text),
        fmt="",
        vmin=0.0,
        vmax=1.0,
        cmap="Blues",
        cbar=False,
        square=True,
        linewidths=1.5,
        linecolor="white",
        xticklabels=classes,
        yticklabels=classes,
    )
    axes.set_xlabel("Predicted")
    axes.tick_params(length=0)
    axes.tick_params(axis="y", rotation=0)


def _share_and_count(share: float, count: float) -> str:
    """`81.8 %` above `18`; the count alone in a row without a scan."""
    return f"{count:.0f}" if math.isnan(share) else f"{100 * share:.1f} %\n{count:.0f}"


def _annotations(values: FloatArray) -> FloatArray:
    """Three digits; undefined cells are left out here, since seaborn masks them."""
    return np.array([["" if math.isnan(v) else f"{v:.3f}" for v in row] for row in values])


def _mark_undefined(axes: Axes, values: FloatArray) -> None:
    """A dash where seaborn leaves a cell empty."""
    for row, column in zip(*np.nonzero(np.isnan(values)), strict=True):
        axes.text(column + 0.5, row + 0.5, "–", ha="center", va="center", color=FAINT)


def _records(results: Results, variant: str) -> list[RunRecord]:
    return [record for record in results.evidence.records if record.run.variant == variant]


def _loss_curve(record: RunRecord) -> tuple[FloatArray, FloatArray] | None:
    """Epochs and training losses of a run; None where it recorded none."""
    path: Path = record.run.folder / "metrics.csv"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as lines:
        rows: list[Mapping[str, str]] = list(csv.DictReader(lines))
    try:
        epochs = np.array([float(row["epoch"]) for row in rows])
        losses = np.array([float(row["train_loss"]) for row in rows])
    except (KeyError, TypeError, ValueError):
        # A record cut off by a kill is drawn by no one; the run's predictions do not depend on it.
        return None
    return (epochs, losses) if len(rows) else None


def _saved(figure: Figure, kind: str, metadata: Mapping[str, None]) -> bytes:
    """The bytes of a figure, in the house style."""
    content = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(content, format=kind, metadata=dict(metadata))
    return content.getvalue()
