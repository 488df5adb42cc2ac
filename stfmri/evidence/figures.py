"""Which figures there are; confusion matrices and class-wise heat maps.

Colours are told apart by colour-blind readers and in grey.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stfmri.evidence import metrics
from stfmri.evidence.curves import training_curves
from stfmri.evidence.forest import forest
from stfmri.evidence.metrics import FloatArray
from stfmri.evidence.references import their_place
from stfmri.evidence.score_tables import file_part
from stfmri.evidence.style import FAINT, INK, STYLE, DrawnFigure
from stfmri.evidence.summary import Results
from stfmri.evidence.tallies import Tally
from stfmri.study.model_labels import MODEL_LABELS

# What is drawn of a large sweep; tables always hold everything.
MOST_MATRICES = 12
MOST_HEATMAP_ROWS = 40
MOST_LETTERS = 24
HEATMAP_METRICS = ("precision", "recall", "specificity", "f1")
HEATMAP_LABELS = ("Precision", "Recall", "Specificity", "F1")


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
        name = ", ".join(filter(None, [MODEL_LABELS.get(model, model), extra]))
        cited = None if extra else results.evidence.cited
        yield DrawnFigure(
            "confusion_" + file_part("-".join(filter(None, [model, extra]))),
            f"Confusion matrices of {name}{their_place(cited, 'confusion', model)}",
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
        axes.set_title(_shortened(classes[number]))
        axes.tick_params(length=0)
        axes.tick_params(axis="x", rotation=25)
        axes.axhline(len(shown) - len(results.baselines), color=INK, linewidth=1)
    return DrawnFigure(
        "class_heatmaps",
        f"Class-wise performance{their_place(results.evidence.cited, 'class_heatmaps')}",
        "Means over folds. Below the line: the baselines that see no image. – is undefined.",
        figure,
    )


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
        xticklabels=[_shortened(name) for name in classes],
        yticklabels=[_shortened(name) for name in classes],
    )
    axes.set_xlabel("Predicted")
    axes.tick_params(length=0)
    axes.tick_params(axis="y", rotation=0)


def _shortened(name: str) -> str:
    """A class name that leaves room for the panel beside it."""
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"


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
